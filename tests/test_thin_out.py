"""Connections go and stay gone: from the ranks through training into every file, and over interruptions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from onnx import numpy_helper
from test_pipeline import DATA, Heard, Steps, assert_same_network, compress, shrunk

from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.plan import Plan
from edgeprune.core.recovery import Recovery
from edgeprune.core.report import Report
from edgeprune.core.request import Budget, Images
from edgeprune.core.sparsity import Sparsity
from edgeprune.core.thinning import Pattern, Thinning
from edgeprune.graph.capture import Program
from edgeprune.graph.connections import layers
from edgeprune.pipeline import thin_out
from edgeprune.pipeline.thin_out import shared_out
from edgeprune.stages.finetune import Course, finetune

Array = NDArray[np.generic]
THINNING = Thinning(times=6, rounds=2)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks run faster so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "data.py").write_text(DATA)
    return folder


@pytest.fixture(scope="module")
def whole(desk: Path) -> Report:
    """A run of two rounds and three epochs in desk/whole, with every kind of file."""
    return compress(desk, "whole", thinning=THINNING, epochs=3, formats=("onnx", "tflite"))


def weights_of(program: Program) -> dict[str, Array]:
    tensors = program.tensors()
    return {layer.weight: tensors[layer.weight].detach().numpy() for layer in layers(program)}


def constants(path: Path) -> list[Array]:
    """Every constant a file holds, as the numbers they stand for."""
    return _of_onnx(path) if path.suffix == ".onnx" else _of_tflite(path)


def _of_onnx(path: Path) -> list[Array]:
    graph = onnx.load(path).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in held:
            zero = held.get(node.input[2]) if len(node.input) > 2 else None
            values = held[node.input[0]].astype(np.int64)
            if zero is not None:
                assert not zero.any(), "a zero weight must be a zero byte, which packs well"
            held[node.input[0]] = values
    return list(held.values())


def _of_tflite(path: Path) -> list[Array]:
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    found = []
    for one in interpreter.get_tensor_details():
        try:
            values = interpreter.get_tensor(one["index"])
        except ValueError:
            continue  # an intermediate value, which nothing was computed for
        points = one["quantization_parameters"]["zero_points"]
        found.append(values if not len(points) or not points.any() else np.ones_like(values))
    return found


def holds(candidates: list[Array], weight: Array, *, exactly: bool) -> bool:
    """Whether one of the constants is zero where the weight is, in any order of its axes."""
    gone = weight == 0
    for one in candidates:
        if one.size != weight.size or one.ndim != weight.ndim:
            continue
        for order in permutations(range(weight.ndim)):
            turned = np.transpose(gone, order)
            if one.shape == turned.shape:
                zeros = one == 0
                if (zeros == turned).all() if exactly else zeros[turned].all():
                    return True
    return False


def test_the_run_keeps_the_budget_and_the_report_counts_what_is_left(desk: Path, whole: Report) -> None:
    thinned = whole.thinned
    assert thinned is not None
    assert thinned.times >= 6
    assert thinned.rounds == 2
    kept = {name: int(np.count_nonzero(one)) for name, one in weights_of(shrunk(desk / "whole")).items()}
    assert thinned.kept == kept
    assert sum(kept.values()) <= sum(thinned.weights.values()) / 6
    parameters = shrunk(desk / "whole").exported().parameters()
    assert thinned.parameters == sum(int(one.count_nonzero()) for one in parameters)
    assert thinned.zeros is not None
    assert thinned.zeros.skipped == {"onnxruntime": False, "litert": False}
    assert whole.compensation is None
    assert whole.finetuning is not None
    assert whole.finetuning.epochs == 3
    assert whole.criterion == "screening"
    assert whole.failures() == []
    assert Report.load(desk / "whole" / "report.json") == whole


def test_zeros_are_in_every_file_where_the_network_has_them(desk: Path, whole: Report) -> None:
    weights = weights_of(shrunk(desk / "whole"))
    assert {one.path for one in whole.artifacts} == {
        f"model{kind}.{format}" for kind in ("", ".fp16", ".int8-static") for format in ("onnx", "tflite")
    }
    for one in whole.artifacts:
        held = constants(desk / "whole" / one.path)
        for name, weight in weights.items():
            # Rounded weights may be zero, too; float32 has these zeros and no others.
            assert holds(held, weight, exactly=one.precision == "fp32"), f"{one.path}: {name}"


def test_zeros_are_not_found_where_there_are_none(desk: Path, whole: Report) -> None:
    """What the test above looks with can see."""
    held = constants(desk / "whole" / "model.onnx")
    weight = next(iter(weights_of(shrunk(desk / "whole")).values())).copy()
    weight[weight != 0] = 0
    assert not holds(held, weight, exactly=True)


def test_packed_bytes_are_those_of_the_files(desk: Path, whole: Report) -> None:
    for one in (*whole.artifacts, *whole.baseline):
        data = (desk / "whole" / one.path).read_bytes()
        assert one.deflated is not None
        assert abs(one.deflated - len(zlib.compress(data, 9))) < 64
        assert one.bytes == len(data)
    small = next(one for one in whole.artifacts if one.path == "model.onnx")
    large = next(one for one in whole.baseline if one.format == "onnx")
    assert small.deflated is not None
    assert large.deflated is not None
    assert small.deflated < large.deflated / 2


def test_sparsity_and_plan_say_what_the_network_is(desk: Path, whole: Report) -> None:
    sparsity, plan = (
        Sparsity.load(desk / "whole" / "sparsity.json"),
        Plan.load(desk / "whole" / "plan.json"),
    )
    assert sparsity.graph == plan.graph
    assert sparsity.budget == plan.budget == ">= 6x fewer weights"
    assert whole.thinned is not None
    assert whole.thinned.units_gone == sum(len(cut.removed) for cut in plan.cuts)
    narrow = plan.apply_to_state(
        {name: one.array() for name, one in sparsity.connections.items()} | rest(desk)
    )
    for name, weight in weights_of(shrunk(desk / "whole")).items():
        assert not weight[~narrow[name]].any()


def rest(desk: Path) -> dict[str, Array]:
    """The other tensors of the network before it was thinned."""
    original = load_original(desk)
    return {
        name: one.detach().numpy()
        for name, one in original.items()
        if not name.endswith("weight") or one.ndim < 2
    }


def load_original(desk: Path) -> dict[str, torch.Tensor]:
    return dict(torch.export.load(desk / "whole" / ".edgeprune" / "original.pt2").state_dict)


def test_training_in_rounds_that_was_interrupted_goes_on_to_the_same_weights(
    desk: Path, whole: Report
) -> None:
    options: dict[str, object] = {"thinning": THINNING, "epochs": 3, "formats": ("onnx", "tflite")}
    for stop in (Heard("thin"), Steps(left=1), Steps(left=3), Heard("export the original")):
        with pytest.raises(KeyboardInterrupt):
            compress(desk, "in-parts", progress=stop, **options)
    assert_same_network(shrunk(desk / "in-parts"), shrunk(desk / "whole"))
    for name in ("sparsity.json", "plan.json"):
        assert (desk / "in-parts" / name).read_bytes() == (desk / "whole" / name).read_bytes()
    with pytest.raises(StorageError, match=r"holds another run \(different: thinning\)"):
        compress(desk, "whole", **{**options, "thinning": Thinning(times=7, rounds=2)})


def test_the_rate_falls_in_the_last_round_only_and_rounds_share_a_checkpoint(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    courses: list[Course] = []

    def noted(*given: Any, **options: Any) -> Any:
        courses.append(given[4])
        return finetune(*given, **options)

    monkeypatch.setattr(thin_out, "finetune", noted)
    stopped(desk, "courses", thinning=Thinning(times=6, rounds=3), epochs=3, formats=("onnx",))
    assert [one.annealed for one in courses] == [False, False, True]
    assert [one.name for one in (desk / "courses" / ".edgeprune").glob("checkpoint*")] == ["checkpoint.pt"]


def stopped(desk: Path, out: str, **options: object) -> Sparsity:
    """What a run has decided when its connections are gone."""
    with pytest.raises(KeyboardInterrupt):
        compress(desk, out, progress=Heard("export the original"), **options)
    return Sparsity.load(desk / out / "sparsity.json")


def test_without_labels_wanda_ranks_and_the_report_says_so(desk: Path) -> None:
    report = compress(desk, "bare", data=f"{desk}/data.py:bare", thinning=Thinning(times=3))
    assert report.criterion == "wanda"
    assert "no labels to compare classes by: wanda ranked the connections" in report.warnings
    assert report.quality.agreement is not None
    assert report.failures() == []


def test_where_no_class_is_shown_twice_the_report_says_what_ranked(desk: Path) -> None:
    few = Images(calibration=10)
    report = compress(desk, "few", thinning=Thinning(times=3), images=few)
    said = "no class has two of the 10 images, so F is not defined and screening ranked without it"
    assert f"{said}; --images gives more" in report.warnings
    by_size = compress(desk, "sized", thinning=Thinning(times=3), images=few, criterion="l2")
    assert not any("no class" in one for one in by_size.warnings)


def test_without_data_magnitudes_rank(desk: Path) -> None:
    sparsity = stopped(desk, "data-free", data=None, thinning=Thinning(times=3))
    assert (sparsity.criterion, sparsity.images) == ("l2", 0)
    assert sparsity.kept == sparsity.weights // 3


def test_a_pattern_reaches_the_network(desk: Path) -> None:
    sparsity = stopped(desk, "pattern", thinning=Thinning(pattern=Pattern(keep=2, of=4)), criterion="l2")
    assert list(sparsity.whole.values()) == ["3 inputs, no multiple of 4"]
    weight = weights_of(shrunk(desk / "pattern"))["head.weight"]
    assert (np.count_nonzero(weight.reshape(-1, 4), axis=1) <= 2).all()


def test_the_seed_decides_random_connections(desk: Path) -> None:
    options = {"data": None, "criterion": "random", "thinning": Thinning(times=3)}
    first, again, other = (
        stopped(desk, f"random-{out}", seed=seed, **options) for out, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert first.connections != other.connections


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": Budget(speedup=2)}, "the budget >= 2x fewer MACs needs whole channels to go"),
        ({"recovery": Recovery(command="t {model} {out}")}, "--train-command does not know which"),
        ({"thinning": Thinning(times=3, rounds=4), "epochs": 3}, "--rounds 4 with --epochs 3: every round"),
        ({"thinning": Thinning(times=3, rounds=2)}, "--rounds 2 with --epochs 0: every round"),
        (
            {"thinning": Thinning(pattern=Pattern(keep=1, of=2), rounds=2), "epochs": 4},
            "--rounds with --pattern 1:2: a pattern is reached in one step",
        ),
        ({"criterion": "fpgm"}, "criterion 'fpgm' ranks whole units, not connections"),
    ],
)
def test_what_does_not_go_together_is_refused(desk: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        compress(desk, "refused", **{"thinning": Thinning(times=3), **options})
    assert caught.value.message.startswith(message)
    assert not (desk / "refused" / "report.json").exists()


@pytest.mark.parametrize(
    ("epochs", "rounds", "courses"),
    [
        (0, None, [0]),
        (1, None, [1]),
        (2, None, [1, 1]),
        (4, None, [1, 1, 2]),
        (10, None, [1, 1, 1, 1, 1, 5]),
        (40, None, [1] * 19 + [21]),
        (200, None, [5] * 19 + [105]),
        (20, 1, [20]),
        (4, 4, [1, 1, 1, 1]),
        (9, 3, [2, 2, 5]),
    ],
)
def test_epochs_are_shared_out_and_the_last_round_has_most(
    epochs: int, rounds: int | None, courses: list[int]
) -> None:
    assert shared_out(epochs, rounds) == courses
    assert sum(courses) == epochs

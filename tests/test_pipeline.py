"""The main job through the Python API: what it promises of data, targets, seeds and interruptions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import pytest
import torch
from tiny import ELSEWHERE
from zoo import SITUATIONS

import edgeprune
from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.journal import Journal
from edgeprune.core.progress import Silent
from edgeprune.core.recovery import Recovery
from edgeprune.core.report import Qualities, Report
from edgeprune.core.request import Budget, Images
from edgeprune.graph.capture import Program
from edgeprune.stages.draw import draw
from edgeprune.stages.load import load

NETWORK = SITUATIONS["residual_add"]
DATA = """\
import numpy as np

from edgeprune.core.samples import Pools, Samples


def patterns():
    random = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = random.standard_normal((10, 3, 16, 16))[labels] + 0.5 * random.standard_normal((200, 3, 16, 16))
    return images.astype(np.float32), labels


def bare():
    images, _ = patterns()
    return Pools(Samples(len(images), lambda chosen: images[list(chosen)], None, "bare"))
"""
TRAIN = """\
import sys
import torch

program = torch.export.load(sys.argv[1])
program.state_dict["head.bias"].data += 1
torch.export.save(program, sys.argv[2])
"""
# As the progress names them.
STEPS = [
    "load",
    "screen",
    "sensitivity",
    "shrink and prove",
    "compensate",
    "export the original",
    "export",
    "quantize",
    "guard",
    "accuracy of the original",
    "accuracy of the shrunk network",
    "verify",
    "profile",
]
# Where a run goes on that was stopped within a stage of the journal, behind that stage's first step.
GOES_ON = {"sensitivity": "screen", "guard": "quantize", "verify": "accuracy of the original"}


@dataclass
class Heard(Silent):
    """Notes every step that starts, and stops the run at one of them as Ctrl-C would."""

    stop: str = ""
    started: list[str] = field(default_factory=list)

    def start(self, stage: str, steps: int | None = None) -> None:
        self.started.append(stage)
        if stage == self.stop:
            raise KeyboardInterrupt


@dataclass
class Steps(Heard):
    """Stops the run after so many steps of training, too."""

    left: int = -1
    taken: list[int] = field(default_factory=list)

    def advance(self, steps: int = 1) -> None:
        if self.started[-1] == "finetune":
            self.taken.append(steps)
            self.left -= steps
            if self.left == 0:
                raise KeyboardInterrupt


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
    """A run that nobody interrupted, in desk/whole."""
    return compress(desk, "whole")


def compress(desk: Path, out: str, *, progress: Heard | None = None, **options: object) -> Report:
    options = {"data": f"{desk}/data.py:patterns", "formats": ("onnx",), "target": ELSEWHERE, **options}
    return edgeprune.compress(
        NETWORK.build(),
        input=NETWORK.inputs,
        out=desk / out,
        progress=progress,
        **options,  # type: ignore[arg-type]
    )


def hashes(folder: Path, names: Sequence[str] = ("plan.json", "model.onnx")) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}


def shrunk(folder: Path) -> Program:
    return load(folder / "model.pt2", arch=None, input_size=None)


def assert_same_network(one: Program, other: Program) -> None:
    """Not the same bytes: torch writes a random number into every archive."""
    assert one.fingerprint() == other.fingerprint()
    first, second = one.tensors(), other.tensors()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_module_in_memory_is_compressed_and_left_as_it_was(desk: Path, whole: Report) -> None:
    assert whole.model == "module"
    assert whole.cost.before.macs >= 2 * whole.cost.after.macs
    assert whole.quality.original is not None
    assert [one.path for one in whole.artifacts] == [
        "model.onnx",
        "model.fp16.onnx",
        "model.int8-static.onnx",
    ]
    assert whole.failures() == []
    assert Report.load(desk / "whole" / "report.json") == whole


def test_the_shrunk_network_loads_without_its_class_and_costs_what_was_planned(
    desk: Path, whole: Report
) -> None:
    parameters = sum(tensor.numel() for tensor in shrunk(desk / "whole").exported().parameters())
    assert parameters == whole.cost.after.parameters


def test_no_image_has_two_purposes_and_the_report_counts_them(desk: Path, whole: Report) -> None:
    request = Journal.load(desk / "whole" / ".edgeprune" / "journal.json").request
    splits = draw(request, shrunk(desk / "whole"))
    assert splits is not None
    parts = [splits.calibration, splits.selection, splits.test]
    together = [index for part in parts for index in part.indices.tolist()]
    assert len(together) == len(set(together)) == 200
    assert whole.images is not None
    assert list(whole.images.model_dump().values()) == [len(part) for part in parts] == [120, 30, 50]


def test_a_target_that_is_not_at_hand_has_no_latency_and_this_machines_stands_beside_it(
    whole: Report,
) -> None:
    for one in (*whole.artifacts, *whole.baseline):
        assert one.latency.model_dump(exclude_defaults=True) == {
            "kind": "none",
            "device": "elsewhere",
            "note": "not measured on the device",
        }
        assert one.latency_here is not None
        assert one.latency_here.kind == "measured"
        assert one.latency_here.device == whole.device.name
        assert one.latency_here.p50_ms > 0


def test_a_run_interrupted_again_and_again_repeats_no_finished_stage_and_ends_the_same(
    desk: Path, whole: Report
) -> None:
    first = "load"
    for stop in ("screen", "sensitivity", "compensate", "export", "quantize", "verify", "profile"):
        progress = Heard(stop)
        with pytest.raises(KeyboardInterrupt):
            compress(desk, "interrupted", progress=progress)
        assert progress.started == STEPS[STEPS.index(first) : STEPS.index(stop) + 1]
        assert not (desk / "interrupted" / "report.json").exists()
        first = GOES_ON.get(stop, stop)
    progress = Heard()
    report = compress(desk, "interrupted", progress=progress)
    assert progress.started == ["profile"]
    assert hashes(desk / "interrupted") == hashes(desk / "whole")
    assert_same_network(shrunk(desk / "interrupted"), shrunk(desk / "whole"))
    assert [one.sha256 for one in report.artifacts] == [one.sha256 for one in whole.artifacts]
    assert report.quality == whole.quality
    assert set(report.timing_s) == set(whole.timing_s)


def test_a_file_that_was_changed_is_made_again_and_so_is_what_came_of_it(desk: Path, whole: Report) -> None:
    copytree(desk / "whole", desk / "changed")
    (desk / "changed" / "model.onnx").write_bytes(b"changed")
    progress = Heard()
    compress(desk, "changed", progress=progress)
    assert progress.started == STEPS[STEPS.index("export") :]
    assert hashes(desk / "changed") == hashes(desk / "whole")


def test_without_data_no_accuracy_is_claimed_and_int8_is_dynamic(desk: Path) -> None:
    report = compress(desk, "data-free", data=None)
    assert report.criterion == "l2"
    assert report.images is None
    assert report.compensation is None
    assert report.quality == Qualities(original=None, shrunk=None, note="data-free: no accuracy is claimed")
    assert [one.precision for one in report.artifacts] == ["fp32", "fp16", "int8-dynamic"]
    assert all(one.quality is None and one.deviation.images == 64 for one in report.artifacts)
    assert report.failures() == []


@pytest.mark.parametrize(
    ("few", "said"),
    [
        (
            Images(calibration=10),
            "no class has two of the 10 images, so F is not defined and screening ranked without it; "
            "--images gives more",
        ),
        (
            Images(selection=10),
            "no class has two of the 10 images that were to say what weight F gets, so it got none; "
            "--criterion 'screening?alpha=0.3' gives it one",
        ),
    ],
)
def test_where_no_class_is_shown_twice_the_report_says_that_f_had_no_say(
    desk: Path, few: Images, said: str
) -> None:
    report = compress(desk, f"few-{few.calibration}", images=few)
    assert report.criterion == "screening"
    assert said in report.warnings
    by_size = compress(desk, f"sized-{few.calibration}", images=few, criterion="l2")
    assert not any("no class" in one for one in by_size.warnings)


def test_without_labels_the_refit_works_and_agreement_is_reported_in_place_of_accuracy(desk: Path) -> None:
    report = compress(desk, "unlabelled", data=f"{desk}/data.py:bare")
    assert report.criterion == "refit"
    assert report.images is not None
    assert report.compensation is not None
    assert report.compensation.kept
    assert (report.quality.original, report.quality.shrunk, report.quality.drop) == (None, None, None)
    assert report.quality.agreement is not None
    assert report.quality.note.startswith(
        "no labels: no accuracy is claimed; the shrunk network answers like"
    )
    assert [one.precision for one in report.artifacts] == ["fp32", "fp16", "int8-static"]
    assert all(one.quality is None and one.drop is None for one in report.artifacts)
    assert report.failures() == []


def test_training_without_labels_goes_by_the_originals_answers(desk: Path) -> None:
    bare = f"{desk}/data.py:bare"
    report = compress(desk, "unlabelled-training", data=bare, epochs=1, recovery=Recovery(batch=20))
    done = report.finetuning
    assert done is not None
    assert not done.labelled
    assert done.kept != "start"
    loss = done.losses[done.kept]
    assert loss is not None
    assert loss < 0.01
    assert report.failures() == []


def test_the_drop_of_every_network_and_file_is_counted_on_the_same_images(whole: Report) -> None:
    drop = whole.quality.drop
    assert drop is not None
    assert whole.images is not None
    assert drop.images == whole.images.test == sum(one.drop.images for one in whole.quality.classes)
    assert whole.quality.original is not None
    assert whole.quality.original.top1 == drop.before
    for one in whole.artifacts:
        assert one.drop is not None
        assert one.quality is not None
        assert (one.drop.before, one.drop.after) == (drop.before, one.quality.top1)


def test_the_seed_alone_decides_what_is_random(desk: Path) -> None:
    for out, seed in (("first", 5), ("again", 5), ("other", 6)):
        compress(desk, out, data=None, criterion="random", seed=seed)
    assert hashes(desk / "first") == hashes(desk / "again")
    assert hashes(desk / "first")["model.onnx"] != hashes(desk / "other")["model.onnx"]


def test_an_epoch_of_training_comes_after_the_refit(desk: Path, whole: Report) -> None:
    progress = Heard("export the original")
    with pytest.raises(KeyboardInterrupt):
        compress(desk, "trained", epochs=1, progress=progress)
    refitted = STEPS.index("compensate") + 1
    assert progress.started == [*STEPS[:refitted], "finetune", "export the original"]
    assert hashes(desk / "trained", ["plan.json"]) == hashes(desk / "whole", ["plan.json"])
    before, after = shrunk(desk / "whole").tensors(), shrunk(desk / "trained").tensors()
    assert {name: tensor.shape for name, tensor in after.items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    assert not torch.equal(after["head.weight"], before["head.weight"])


def test_a_normed_stream_stays_whole_unless_its_norm_is_allowed(desk: Path) -> None:
    normed = SITUATIONS["layer_norm_mlp"]
    options = {"target": ELSEWHERE, "input": normed.inputs, "formats": ("onnx",), "criterion": "l2"}
    locked = edgeprune.compress(
        normed.build(),
        out=desk / "exact",
        budget=Budget(speedup=1.5),
        **options,  # type: ignore[arg-type]
    )
    assert set(locked.locked) == {"embed", "head"}
    assert locked.proof.inexact == {}
    assert shrunk(desk / "exact").tensors()["embed.weight"].shape == (16, 16)
    freed = edgeprune.compress(
        normed.build(),
        out=desk / "freed",
        budget=Budget(speedup=6),
        allow_inexact=["layer_norm"],
        **options,  # type: ignore[arg-type]
    )
    assert set(freed.locked) == {"head"}
    assert freed.proof.inexact == {"embed": ("layer_norm",)}
    assert freed.proof.relative_error < 1e-9
    assert freed.failures() == []
    assert shrunk(desk / "freed").tensors()["embed.weight"].shape[0] < 16
    again = edgeprune.apply(desk / "freed", normed.build(), out=desk / "again.pt2")
    assert again.proof.inexact == freed.proof.inexact
    assert_same_network(shrunk(desk / "freed"), load(desk / "again.pt2", arch=None, input_size=None))
    with pytest.raises(StorageError, match=r"holds another run \(different: allow_inexact\)"):
        edgeprune.compress(
            normed.build(),
            out=desk / "freed",
            budget=Budget(speedup=6),
            **options,  # type: ignore[arg-type]
        )


def test_training_that_was_interrupted_goes_on_to_the_same_weights(desk: Path) -> None:
    options: dict[str, object] = {"epochs": 3, "recovery": Recovery(learning_rate=0.02, augment="flip")}
    for out, stop in (("at-once", -1), ("in-parts", 3), ("in-parts", -1)):
        progress = Steps("export the original", left=stop)
        with pytest.raises(KeyboardInterrupt):
            compress(desk, out, progress=progress, **options)
    assert progress.taken[0] > 1, "epochs that were finished are not done again"
    assert_same_network(shrunk(desk / "at-once"), shrunk(desk / "in-parts"))


def test_half_the_batch_size_is_twice_the_steps(desk: Path) -> None:
    steps = []
    for size in (8, 16):
        progress = Steps("export the original")
        with pytest.raises(KeyboardInterrupt):
            compress(desk, f"batches-{size}", epochs=1, recovery=Recovery(batch=size), progress=progress)
        steps.append(sum(progress.taken))
    assert steps[0] in (2 * steps[1] - 1, 2 * steps[1])
    assert steps[1] > 1


def test_a_command_of_ones_own_trains_in_place_of_the_loop(desk: Path, whole: Report) -> None:
    (desk / "train.py").write_text(TRAIN)
    command = f"{sys.executable} {desk}/train.py {{model}} {{out}}"
    progress = Heard("export the original")
    with pytest.raises(KeyboardInterrupt):
        compress(desk, "own-loop", recovery=Recovery(command=command), progress=progress)
    assert progress.started[-2:] == ["train with your command", "export the original"]
    before, after = shrunk(desk / "whole").tensors(), shrunk(desk / "own-loop").tensors()
    assert torch.equal(after["head.bias"], before["head.bias"] + 1)
    assert torch.equal(after["head.weight"], before["head.weight"])


def test_a_command_that_fails_leaves_no_model(desk: Path) -> None:
    with pytest.raises(RequestError) as caught:
        compress(desk, "failed", recovery=Recovery(command=f"{sys.executable} -c 1/0 {{model}} {{out}}"))
    assert caught.value.message.endswith("ZeroDivisionError: division by zero")
    assert not (desk / "failed" / "model.pt2").exists()

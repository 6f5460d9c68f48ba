"""Budgets of size and accuracy through the Python API: what is searched, kept, foretold and refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_pipeline import DATA, NETWORK, Heard, assert_same_network, hashes, one_thread, shrunk
from tiny import ELSEWHERE, a_split, coupled, halved, tiny_floats, tiny_quantized
from torch import nn

import edgeprune
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, DataError, GateError, RequestError
from edgeprune.core.plan import Plan
from edgeprune.core.report import Report
from edgeprune.core.request import Budget, Images
from edgeprune.core.search import Search, Trial
from edgeprune.core.size import SizeBound
from edgeprune.graph.cost import weight_bytes
from edgeprune.stages.export import export
from edgeprune.stages.quantize import quantize

__all__ = ["one_thread"]  # a fixture, for this module, too
DROP = Budget(max_drop=15, confidence=0.8)
STRICT = Budget(max_drop=5, confidence=0.9)
ENOUGH = Images(selection=60)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "data.py").write_text(DATA)
    return folder


@cache
def trained() -> nn.Module:
    """The network after a short training on the desk's images: its answers differ, and cuts change them."""
    space: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {}
    exec(DATA, space)
    images, labels = space["patterns"]()
    torch.manual_seed(0)
    module = NETWORK.build().train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
    return module.eval()


def compress(desk: Path, out: str, *, progress: Heard | None = None, **options: object) -> Report:
    options = {"data": f"{desk}/data.py:patterns", "formats": ("onnx",), "target": ELSEWHERE, **options}
    return edgeprune.compress(
        trained(),
        input=NETWORK.inputs,
        out=desk / out,
        progress=progress,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def found(desk: Path) -> Report:
    """A search that nobody interrupted, in desk/found."""
    return compress(desk, "found", budget=DROP)


def stopped(desk: Path, out: str, at: str, **options: object) -> list[str]:
    """The steps of a run up to where it is stopped."""
    progress = Heard(at)
    with pytest.raises(KeyboardInterrupt):
        compress(desk, out, progress=progress, **options)
    return progress.started


def plan_of(folder: Path) -> Plan:
    return Plan.load(folder / "plan.json")


def trials_of(folder: Path) -> list[Trial]:
    files = (folder / ".edgeprune").glob("trial-*.json")
    return [Trial.load(file) for file in sorted(files, key=lambda file: int(file.stem.split("-")[1]))]


def test_the_smallest_trial_that_held_is_carried_out_and_all_are_reported(desk: Path, found: Report) -> None:
    search = found.search
    assert isinstance(search, Search)
    assert (search.answers, search.narrows, search.images) == ("right", "macs", 50)
    assert search.best is not None
    assert found.cost.after == search.best.cost
    assert all(one.cost.macs >= found.cost.after.macs for one in search.trials if one.held)
    assert all(one.drop.images == 50 for one in search.trials)
    for one in search.trials:
        assert one.held == (one.drop.confidence(at_most=15) >= 0.8)
    made = trials_of(desk / "found")
    assert [f"trial {number + 1}" for number in range(len(made))] == [
        name for name in found.timing_s if name.startswith("trial")
    ]


def test_the_claim_is_judged_on_test_images(found: Report) -> None:
    claim = found.claim
    assert claim is not None
    assert claim.drop == found.quality.drop
    assert claim.drop.images == found.images.test if found.images else 0
    assert found.unmet() == ([] if claim.verdict != "no" else claim.unmet())


def test_an_interrupted_search_goes_on_with_the_next_trial_to_the_same_plan(
    desk: Path, found: Report
) -> None:
    first = stopped(desk, "search", "trial 2", budget=DROP)
    assert first[-2:] == ["trial 1", "trial 2"]
    rest = stopped(desk, "search", "export the original", budget=DROP)
    assert rest[0] == "trial 2"
    assert "screen" not in rest
    assert hashes(desk / "search", ["plan.json"]) == hashes(desk / "found", ["plan.json"])
    assert_same_network(shrunk(desk / "search"), shrunk(desk / "found"))


def test_another_bound_is_the_least_cut_and_where_it_fails_nothing_is_written(
    desk: Path, found: Report
) -> None:
    budget = DROP.model_copy(update={"speedup": 1.2})
    stopped(desk, "both", "export the original", budget=budget)
    first = trials_of(desk / "both")[0]
    assert first.asked == int(found.cost.before.macs / 1.2)
    assert plan_of(desk / "both").after.macs <= first.asked
    with pytest.raises(GateError) as caught:
        compress(
            desk,
            "failed",
            data=f"{desk}/data.py:bare",
            budget=STRICT.model_copy(update={"speedup": 8}),
            images=ENOUGH,
        )
    assert caught.value.message.startswith(
        "no cut is within 5 % of the answers at 90 %: of 1 tried, the one to "
    )
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("--max-drop ")
    assert not [file.name for file in (desk / "failed").iterdir() if file.name.startswith(("model", "plan"))]


def test_parameters_are_narrowed_where_only_they_are_bounded(desk: Path) -> None:
    stopped(desk, "fewer", "trial 2", budget=DROP.model_copy(update={"parameters": 3900}))
    (first,) = trials_of(desk / "fewer")
    assert (first.asked, first.reached) == (3900, first.cost.parameters)


def test_without_labels_answers_that_change_are_counted(desk: Path) -> None:
    stopped(desk, "bare", "export the original", data=f"{desk}/data.py:bare", budget=DROP)
    for one in trials_of(desk / "bare"):
        assert (one.drop.gained, one.drop.both_wrong, one.drop.before) == (0, 0, 100)


def test_images_too_few_to_show_the_bound_are_refused_before_any_work(desk: Path) -> None:
    progress = Heard()
    with pytest.raises(DataError) as caught:
        compress(desk, "few", budget=Budget(max_drop=1), progress=progress)
    assert (caught.value.message, caught.value.hint) == (
        "50 selection images cannot show a drop within 1 point at 95 %, even if not one answer changes",
        "it takes 268, and more where answers change: --selection-images 536, or a looser --max-drop",
    )
    assert progress.started == ["load"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": DROP, "rounds": 2}, "--max-drop searches by single cuts, --rounds makes several"),
        ({"budget": DROP, "data": None}, "--max-drop needs images to judge by"),
        ({"budget": Budget(confidence=0.9)}, "--confidence without --max-drop"),
        (
            {"rounds": 2, "data": None},
            "--rounds needs images: without them nothing is refitted or screened anew in between",
        ),
    ],
)
def test_bounds_that_contradict_one_another_or_cannot_be_judged(
    desk: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        compress(desk, "refused", **options)
    assert caught.value.message == message
    assert not (desk / "refused").exists()


@cache
def narrow_files(folder: Path) -> tuple[Artifact, ...]:
    _, program, _ = halved()
    floats, _ = export(program, ("onnx", "tflite"), folder, parent="cd34")
    static, _ = quantize(floats, ("fp16", "int8-static"), a_split(64), folder)
    dynamic, _ = quantize(floats, ("int8-static",), None, folder)
    return (*floats, *static, *dynamic)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-static", "int8-dynamic"])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_file_is_never_larger_than_foretold_and_little_smaller(
    format: str, precision: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    coupling, plan = coupled("residual_add"), halved()[2]
    originals = {(one.format, one.precision): one for one in (*tiny_floats(), *tiny_quantized())}
    original = originals[format, precision]  # type: ignore[index]
    written = next(
        one
        for one in narrow_files(tmp_path_factory.getbasetemp())
        if (one.format, one.precision) == (format, precision)
    )
    bound = SizeBound(asked=1, original=original, weights=weight_bytes(coupling, (), original.precision))
    foretold = bound.file_of(weight_bytes(coupling, plan.cuts, original.precision))
    assert written.bytes < 0.8 * original.bytes
    # Of the float files nothing but padding is left to chance; int8 files lose scales and biases, too.
    slack = 0.01 if precision.startswith("fp") else 0.07
    assert written.bytes <= foretold <= written.bytes * (1 + slack)


def test_the_smallest_file_keeps_to_its_bound(desk: Path) -> None:
    report = compress(desk, "small", budget=Budget(size=8200, size_of="int8-static"))
    assert report.size is not None
    smallest = next(one for one in report.artifacts if one.path == report.size.path)
    assert smallest.path == "model.int8-static.onnx"
    assert smallest.bytes == report.size.bytes <= report.size.predicted <= 8200
    assert smallest.bytes > 0.85 * 8200
    assert report.unmet() == []
    assert list(report.timing_s)[:4] == ["load", "baseline", "size", "screen"]


def test_a_size_below_what_is_not_weights_is_refused(desk: Path) -> None:
    with pytest.raises(BudgetError) as caught:
        compress(desk, "tiny", budget=Budget(size=900))
    assert caught.value.message == "the budget <= 900 bytes cannot be reached"
    assert caught.value.hint is not None
    assert "for its graph and what else is not a weight" in caught.value.hint
    with pytest.raises(BudgetError, match=r"the budget <= 2500 bytes in fp32 cannot be reached") as caught:
        compress(desk, "tiny", budget=Budget(size=2500, size_of="fp32"))
    assert caught.value.hint is not None
    assert re.search(r"narrowest: .* parameters, [\d.]+ kB; ", caught.value.hint)


def test_a_cut_in_rounds_is_one_plan_of_the_original(desk: Path) -> None:
    steps = stopped(desk, "rounds", "export the original", rounds=2, budget=Budget(speedup=3))
    assert steps == [
        "load",
        *("screen", "sensitivity", "shrink and prove", "compensate"),
        *("screen", "sensitivity", "shrink and prove", "compensate"),
        "export the original",
    ]
    whole, first = plan_of(desk / "rounds"), Plan.load(desk / "rounds" / ".edgeprune" / "plan-1.json")
    assert whole.graph == first.graph
    assert whole.before.macs / whole.after.macs >= 3
    assert 3**0.5 <= first.before.macs / first.after.macs < 3
    removed = {cut.group: set(cut.removed) for cut in whole.cuts}
    assert all(set(cut.removed) <= removed[cut.group] for cut in first.cuts)
    applied = edgeprune.apply(desk / "rounds", trained(), out=desk / "again.pt2")
    assert applied.proof.relative_error < 1e-9
    assert applied.plan.after == whole.after
    again = edgeprune.apply(desk / "rounds", trained(), out=desk / "once-more.pt2")
    assert whole.compare(again.plan).groups == ()


def test_rounds_that_were_interrupted_go_on_to_the_same_network(desk: Path) -> None:
    options: dict[str, object] = {"rounds": 2, "budget": Budget(speedup=3)}
    if not (desk / "rounds" / "model.pt2").exists():
        stopped(desk, "rounds", "export the original", **options)

    class SecondScreen(Heard):
        def start(self, stage: str, steps: int | None = None) -> None:
            self.stop = "screen" if "compensate" in self.started else ""
            super().start(stage, steps)

    with pytest.raises(KeyboardInterrupt):
        compress(desk, "halting", progress=SecondScreen(), **options)
    rest = stopped(desk, "halting", "export the original", **options)
    assert rest == ["screen", "sensitivity", "shrink and prove", "compensate", "export the original"]
    assert_same_network(shrunk(desk / "halting"), shrunk(desk / "rounds"))


def test_epochs_are_shared_out_between_rounds(desk: Path) -> None:
    steps = stopped(desk, "trained", "export the original", rounds=2, epochs=3)
    assert steps.count("finetune") == 2
    hidden = desk / "trained" / ".edgeprune"
    assert '"epochs": 1' in (hidden / "finetuning-1.json").read_text()
    assert '"epochs": 2' in (hidden / "finetuning.json").read_text()

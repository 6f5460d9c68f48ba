"""Grouped convolutions through the Python API: every group keeps its own strongest channels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from test_pipeline import DATA, Heard, one_thread, shrunk
from tiny import ELSEWHERE
from torch import nn
from zoo import IMAGE, conv_bn

import edgeprune
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.report import Report
from edgeprune.core.request import Budget, Images
from edgeprune.core.search import Trial
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.planned import plan_of

__all__ = ["one_thread"]  # a fixture, for this module, too
STRONG = {
    "0.0": ((0, 3), (1, 2), (0, 1), (2, 3)),
    "1.0": ((1, 2), (0, 2), (1, 3), (0, 3)),
}
"""Per group of channels the places, within each group of the convolution, of those that say something."""


def network(width: int) -> nn.Sequential:
    """A grouped convolution between two others."""
    layers = [conv_bn(3, width), conv_bn(width, width, groups=4), conv_bn(width, 8, kernel=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def patterns() -> tuple[np.ndarray, np.ndarray]:
    space: dict[str, object] = {}
    exec(DATA, space)
    images, labels = space["patterns"]()  # type: ignore[operator]
    return images, labels


@cache
def trained() -> nn.Sequential:
    """Half as wide, every channel of use."""
    images, labels = (torch.from_numpy(one) for one in patterns())
    torch.manual_seed(0)
    module = network(8).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
    return module.eval()


def coupled() -> Coupling:
    return couple(capture(widened(), IMAGE))


def by_hand(coupling: Coupling) -> Plan:
    cuts = (Cut(group=name, units=4, kept=lanes[0], lanes=lanes) for name, lanes in STRONG.items())
    return plan_of(coupling, tuple(cuts), "hand", "the strong ones")


@cache
def widened() -> nn.Sequential:
    """The same, with as many channels beside that say next to nothing, at other places in every group."""
    torch.manual_seed(1)
    module = network(16).eval()
    with torch.no_grad():
        for layer in module[:3]:
            layer[0].weight *= 0.01
            layer[1].weight *= 0.01
    plan = by_hand(couple(capture(module, IMAGE)))
    module.load_state_dict(plan.restore_state(trained().state_dict(), module.state_dict()))
    return module


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "data.py").write_text(DATA)
    return folder


@pytest.fixture(scope="module")
def report(desk: Path) -> Report:
    """A run down to the cost of what says something, in desk/run."""
    return compress(desk, "run", formats=("onnx", "tflite"))


def compress(desk: Path, out: str, *, progress: Heard | None = None, **options: object) -> Report:
    budget = Budget(macs=by_hand(coupled()).after.macs)
    options = {"data": f"{desk}/data.py:patterns", "formats": ("onnx",), "budget": budget, **options}
    return edgeprune.compress(
        widened(),
        input=IMAGE,
        target=ELSEWHERE,
        out=desk / out,
        progress=progress,
        **options,  # type: ignore[arg-type]
    )


def stopped(desk: Path, out: str, **options: object) -> None:
    """A run up to where the network is cut and refitted."""
    with pytest.raises(KeyboardInterrupt):
        compress(desk, out, progress=Heard("export the original"), **options)


def kept(plan: Plan) -> dict[str, list[set[int]]]:
    """What every group of the convolution keeps."""
    return {cut.group: [set(lane) for lane in cut.lanes] for cut in plan.cuts}


def test_every_group_keeps_its_own_strongest_channels_and_the_files_prove_it(
    desk: Path, report: Report
) -> None:
    plan = Plan.load(desk / "run" / "plan.json")
    assert kept(plan) == {name: [set(lane) for lane in lanes] for name, lanes in STRONG.items()}
    assert plan.locked == {}
    assert report.proof.relative_error < 1e-9
    assert report.failures() == []
    assert report.compensation is not None
    assert report.compensation.divergence_before < 1e-3
    assert {one.format for one in report.artifacts} == {"onnx", "tflite"}


def test_such_a_plan_is_carried_out_again_compared_and_given_back(desk: Path, report: Report) -> None:
    plan = Plan.load(desk / "run" / "plan.json")
    applied = edgeprune.apply(plan, widened(), out=desk / "again.pt2")
    assert applied.proof.relative_error < 1e-9
    assert applied.plan.tensors == plan.tensors
    narrow = edgeprune.give_back(widened(), plan, weights=desk / "run" / "model.pt2")
    images = torch.randn(3, *IMAGE)
    (expected,) = shrunk(desk / "run").answers([images])
    torch.testing.assert_close(narrow(images), expected, rtol=1e-4, atol=1e-5)
    assert plan.compare(by_hand(coupled())).groups == ()
    alike = plan.model_copy(update={"cuts": tuple(cut.model_copy(update={"lanes": ()}) for cut in plan.cuts)})
    assert [(one.group, one.lanes) for one in plan.compare(alike).groups] == [("0.0", 3), ("1.0", 3)]


def test_a_search_tries_what_is_carried_out(desk: Path) -> None:
    stopped(desk, "search", budget=Budget(max_drop=15, confidence=0.8), images=Images(selection=60))
    plan = Plan.load(desk / "search" / "plan.json")
    trials = [Trial.load(file) for file in (desk / "search" / ".edgeprune").glob("trial-*.json")]
    assert plan.after == min((one for one in trials if one.held), key=lambda one: one.reached).cost
    assert plan.after.macs <= by_hand(coupled()).after.macs
    for name, lanes in STRONG.items():
        for mine, strong in zip(kept(plan)[name], map(set, lanes), strict=True):
            assert mine <= strong or strong <= mine


def test_rounds_keep_the_units_that_the_first_put_together(desk: Path) -> None:
    stopped(desk, "rounds", rounds=2, budget=Budget(speedup=4))
    first, whole = (Plan.load(desk / "rounds" / name) for name in (".edgeprune/plan-1.json", "plan.json"))
    units = {cut.group: set(zip(*cut.lanes, strict=True)) for cut in first.cuts}
    for cut in whole.cuts:
        assert cut.group not in units or set(zip(*cut.lanes, strict=True)) <= units[cut.group]
    assert whole.before.macs / whole.after.macs >= 4
    assert edgeprune.apply(whole, widened(), out=desk / "of-rounds.pt2").proof.relative_error < 1e-9

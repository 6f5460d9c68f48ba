"""A pair of layers moves together, only where nothing else reads what is between, and only for the better."""

from __future__ import annotations

import pytest
import torch
from tiny import a_split, tiny
from torch.fx import Node
from zoo import SITUATIONS

from edgeprune.core.plan import Plan
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph import walk
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.consumers import consumers
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.reconstruct import Segment, renormed, segment_of, source_values
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


def segment_before(weight: str, program: Program) -> Segment | None:
    """The pair that ends with the layer of this weight."""
    (one,) = (each for each in consumers(couple(program)) if each.weight == weight)
    return segment_of(one.node, one.norm)


def weights_of(nodes: tuple[Node, ...]) -> list[str]:
    return [str(node.args[1].target) for node in nodes if "conv" in node.name]  # type: ignore[union-attr]


def cut(situation: str) -> tuple[Coupling, Program, Plan]:
    coupling = couple(tiny(situation))
    ranks = screen(coupling, None, build("criteria", "random"), name="random")
    program, done, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=1.5), multiple=1))
    return coupling, program, done


def divergence(situation: str, passes: int, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(walk, "PASSES", passes)
    size = SITUATIONS[situation].inputs
    _, found = compensate(*cut(situation), a_split(600, size=size), a_split(100, seed=1, size=size))
    return found.divergence_after


def test_a_pair_goes_from_what_its_first_layer_reads_to_the_norm_of_its_last() -> None:
    segment = segment_before("last.0.weight", tiny())
    assert segment is not None
    assert weights_of(segment.nodes) == ["body.0.weight", "last.0.weight"]
    assert "relu" in segment.source.name
    assert "batch_norm" in segment.ends[-1].name
    assert segment.entry not in segment.nodes


def test_the_first_layer_may_read_the_image() -> None:
    segment = segment_before("2.weight", tiny("prelu"))
    assert segment is not None
    assert segment.entry.op == "placeholder"


def test_there_is_no_pair_where_something_else_reads_what_is_between() -> None:
    assert segment_before("body.0.weight", tiny()) is None  # the residual sum reads the stem, too


@pytest.mark.parametrize("situation", ["grouped", "conv1d"])
def test_pairs_that_moved_answer_closer_on_images_they_have_not_seen(
    situation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert divergence(situation, 8, monkeypatch) < divergence(situation, 0, monkeypatch)


def test_a_pair_that_answers_right_already_is_left_alone() -> None:
    coupling = couple(tiny())
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    program, done, _ = shrink(coupling, plan(coupling, ranks, Budget(parameters=10**9), multiple=1))
    before = {name: one.clone() for name, one in program.tensors().items()}
    compensate(coupling, program, done, a_split(200), a_split(50, seed=1))
    assert all(torch.equal(one, before[name]) for name, one in program.tensors().items())


def test_statistics_are_brought_up_to_date_without_changing_an_answer() -> None:
    program = capture(SITUATIONS["residual_add"].build(), SITUATIONS["residual_add"].inputs)
    segment = segment_before("last.0.weight", program)
    assert segment is not None
    random = torch.Generator().manual_seed(0)
    entries = [torch.rand(20, 16, 14, 14, generator=random) for _ in range(2)]
    before = source_values(program, segment, entries)
    values = renormed(program, segment, entries)
    tensors = program.tensors()
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)
    after = source_values(program, segment, entries)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    weight = tensors["body.0.weight"].detach()
    read = torch.nn.functional.conv2d(torch.cat(entries), weight, tensors.get("body.0.bias"), padding=1)
    interior = values["body.1.running_mean"].float()
    torch.testing.assert_close(read.mean((0, 2, 3)), interior, rtol=1e-3, atol=1e-4)

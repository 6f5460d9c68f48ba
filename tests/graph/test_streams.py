"""Streams: what everything goes through, where a cut has left it as wide as it was."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny
from torch import Tensor, nn

from edgeprune.core.plan import Plan
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.couple import couple
from edgeprune.graph.streams import streams, tapped
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


class TwoStages(nn.Module):
    """A sum around a convolution, then one of half the size: past the middle leads its skip alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 8, 3, padding=1)
        self.down, self.head = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.outer(self.inner(x).relu())).relu()
        return self.head(self.down(x).relu().mean((2, 3)))


def shrunk(program: Program, speedup: float) -> tuple[Program, Plan]:
    coupling = couple(program)
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    network, done, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=speedup), multiple=1))
    return network, done


def two_stages() -> Program:
    torch.manual_seed(0)
    return capture(TwoStages().eval(), (3, 12, 12))


def test_the_last_value_of_every_shape_that_nothing_leads_past() -> None:
    program = two_stages()
    found = streams(program, two_stages())
    nodes = {node.name: node for node in program.graph.nodes}
    values = tapped(program, found)(program.example(2))
    assert [tuple(one.shape) for one in values[1:]] == [(2, 8, 12, 12), (2, 12, 6, 6)]
    before = nodes[found[0]].all_input_nodes
    assert ["add" in one.name for one in before] == [True]  # after the sum, not inside the branch


def test_what_a_cut_has_narrowed_is_none() -> None:
    original = two_stages()
    narrow, _ = shrunk(original, 4)
    kept = streams(original, narrow)
    inputs = original.example(3)
    pairs = [tapped(one, kept)(inputs)[1:] for one in (original, narrow)]
    assert [one.shape for one in pairs[0]] == [one.shape for one in pairs[1]]
    assert len(kept) < len(streams(original, original))


@pytest.mark.parametrize("situation", ["residual_add", "depthwise", "concat_split"])
def test_a_tapped_network_answers_with_the_same_bits_and_tensors(situation: str) -> None:
    program = tiny(situation)
    names = streams(program, program)
    module, inputs = tapped(program, names), program.example(4)
    answer, *values = module(inputs)
    assert torch.equal(answer, program.run(inputs))
    assert len(values) == len(names)
    held = program.tensors()
    assert all(held[name] is one for name, one in module.named_parameters() if name in held)


def test_without_streams_there_is_the_answer_alone() -> None:
    program = tiny()
    (answer,) = tapped(program, ())(program.example(2))
    assert torch.equal(answer, program.run(program.example(2)))

"""Every situation of the zoo is coupled as promised, and cut exactly."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.utils._pytree import tree_leaves
from zoo import SITUATIONS

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program
from edgeprune.graph.check import TOLERANCE, Proven, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.narrowing import dropped


@pytest.fixture(scope="module", params=SITUATIONS)
def name(request: pytest.FixtureRequest) -> str:
    """Every situation; of module scope, so that all tests of one run after each other and share its work."""
    return str(request.param)


@cache
def coupled(name: str) -> Coupling:
    one = SITUATIONS[name]
    return one.coupling()


@cache
def halved(name: str) -> Proven:
    """Every second unit of every free group goes, all groups at once."""
    cuts = (
        Cut(group=group.id, units=group.units, kept=tuple(range(1, group.units, 2)))
        for group in coupled(name).free()
    )
    return prove(coupled(name), tuple(cuts))


@cache
def recaptured(name: str) -> Coupling:
    """The coupling of what a stranger who loads the halved program would see."""
    program = halved(name).program
    return couple(Program(program.exported().module(check_guards=False), program.inputs))


def answers(program: Program) -> list[torch.Tensor]:
    return program.answers(program.examples(3, seed=7))


def test_free_groups_and_locks_are_as_promised(name: str) -> None:
    groups = coupled(name).groups
    locked = {group.id: group.locked.why for group in groups if group.locked}
    last = [name for name, why in locked.items() if why == "the network's output"]

    assert {group.id: group.units for group in groups if not group.locked} == SITUATIONS[name].free
    assert {name: why for name, why in locked.items() if name not in last} == SITUATIONS[name].locked
    assert last


def test_the_network_is_small(name: str) -> None:
    assert sum(one.numel() for one in SITUATIONS[name].build().parameters()) < 100_000


def test_half_of_all_free_groups_are_cut_exactly(name: str) -> None:
    proven = halved(name)

    assert proven.refused == {}
    assert proven.relative_error <= TOLERANCE


def test_the_cut_reaches_the_output_and_keeps_its_shape(name: str) -> None:
    for before, after in zip(answers(coupled(name).program), answers(halved(name).program), strict=True):
        assert before.shape == after.shape
        # A cut that changes nothing would make the proof of exactness empty.
        assert float((before - after).abs().max()) > 1e-3 * float(before.abs().max())


def test_the_recaptured_widths_are_the_planned_ones(name: str) -> None:
    narrowed = coupled(name).narrowed(halved(name).cuts)
    gone = dropped(coupled(name), halved(name).cuts)
    planned = {
        tensor: [narrowed.count(labels, 0) for labels in axes]
        for tensor, axes in coupled(name).tensors.items()
        if tensor not in gone
    }

    found = recaptured(name).program.tensors()

    # Surgery may add positions to pick of its own.
    assert {
        tensor: list(value.shape) for tensor, value in found.items() if not tensor.endswith("_positions")
    } == planned


def test_the_predicted_cost_is_the_counted_one(name: str) -> None:
    predicted = count(coupled(name), coupled(name).narrowed(halved(name).cuts))

    assert count(recaptured(name)) == predicted


def test_neither_the_network_nor_its_program_is_touched(name: str) -> None:
    halved(name)
    program, fresh = coupled(name).program, SITUATIONS[name].build()

    captured = program.tensors()
    saved = fresh.state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in captured.items() if key in saved)
    with torch.no_grad():
        torch.testing.assert_close(answers(program), tree_leaves(fresh(*program.examples(3, seed=7))))


def test_one_unit_is_enough_for_every_group(name: str) -> None:
    """The last unit of each group alone: the narrowest network the groups allow."""
    coupling = coupled(name)
    cuts = (Cut(group=group.id, units=group.units, kept=(group.units - 1,)) for group in coupling.free())

    assert prove(coupling, tuple(cuts)).refused == {}


def test_tied_parameters_stay_tied() -> None:
    shrunk = halved("tied_linear").program.tensors()

    assert shrunk["first.weight"] is shrunk["second.weight"]
    assert shrunk["first.weight"].shape == (6, 6)
    assert isinstance(shrunk["second.weight"], torch.nn.Parameter)


def test_the_softmax_scale_stays_when_heads_get_narrower() -> None:
    program = halved("mha_many_heads").program
    scales = [
        node.args[1]
        for node in program.graph.nodes
        if str(node.target) == "aten.mul.Tensor" and isinstance(node.args[1], float)
    ]

    assert scales == [pytest.approx(2**-0.5)]

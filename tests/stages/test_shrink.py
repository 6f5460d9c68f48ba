"""A plan is carried out with proof, or refused with the reason."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import tiny_coupling

from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Cost, Cut, Plan
from edgeprune.graph import surgery
from edgeprune.graph.capture import Program
from edgeprune.graph.check import prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.stages import shrink as stage
from edgeprune.stages.shrink import replay, shrink

STEM = Cut(group="stem.0", units=16, kept=(0, 2, 3, 8, 15))
BODY = Cut(group="body.0", units=12, kept=(1, 4, 7))
UNKNOWN = Cost(parameters=0, macs=0, weight_bytes=0, peak_activation_bytes=0)


def a_plan(*cuts: Cut, graph: str = "") -> Plan:
    """A plan by hand; what it predicts is not known."""
    return Plan(
        graph=graph or tiny_coupling().program.fingerprint(),
        criterion="hand",
        budget="",
        seed=0,
        before=count(tiny_coupling()),
        after=UNKNOWN,
        cuts=cuts,
        locked={"elsewhere": "refused before"},
    )


def careless(coupling: Coupling, cuts: tuple[Cut, ...]) -> Program:
    """Surgery that forgets a sign where the body is cut."""
    program = surgery.shrink(coupling, cuts)
    if any(cut.group == "body.0" for cut in cuts):
        with torch.no_grad():
            program.tensors()["last.0.weight"].neg_()
    return program


def test_the_narrow_program_has_the_planned_widths_and_cost() -> None:
    program, done, proof = shrink(tiny_coupling(), a_plan(STEM, BODY))
    shapes = {name: tuple(tensor.shape) for name, tensor in program.tensors().items()}
    assert shapes["stem.0.weight"] == (5, 3, 3, 3)
    assert shapes["body.0.weight"] == (3, 5, 3, 3)
    assert shapes["last.0.weight"] == (5, 3, 3, 3)
    assert shapes["head.weight"] == (10, 5)
    assert done.cuts == (STEM, BODY)
    assert done.after.parameters == sum(one.numel() for one in program.module.parameters())
    assert (proof.inputs, proof.refused) == (2, {})
    assert proof.relative_error < 1e-9


def test_the_original_is_left_as_it_was() -> None:
    original = tiny_coupling().program
    before = {name: tensor.clone() for name, tensor in original.tensors().items()}
    program, _, _ = shrink(tiny_coupling(), a_plan(BODY))
    with torch.no_grad():
        for tensor in program.tensors().values():
            tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.tensors().items())


def test_a_plan_for_another_network_is_refused() -> None:
    own = tiny_coupling().program.fingerprint()
    with pytest.raises(DocumentError) as caught:
        shrink(tiny_coupling(), a_plan(BODY, graph="f00"))
    assert caught.value.message == f"plan: made for graph f00, this network is {own}"
    assert caught.value.hint == "the network changed since; make a new plan"


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (
            Cut(group="body", units=12, kept=(0,)),
            "plan: group 'body' has 12 units there, no such group in this network",
        ),
        (
            Cut(group="body.0", units=8, kept=(0,)),
            "plan: group 'body.0' has 8 units there, 12 units in this network",
        ),
    ],
)
def test_a_cut_that_fits_no_group_is_refused(cut: Cut, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        shrink(tiny_coupling(), a_plan(cut))
    assert caught.value.message == message


def test_a_locked_group_cannot_be_cut_by_an_edited_plan() -> None:
    with pytest.raises(DocumentError, match="plan: group 'head' is locked: the network's output") as caught:
        shrink(tiny_coupling(), a_plan(Cut(group="head", units=10, kept=(0,))))
    assert caught.value.exit_code == 2


def test_a_group_whose_proof_fails_stays_whole_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "prove", partial(prove, operate=careless))
    program, done, proof = shrink(tiny_coupling(), a_plan(STEM, BODY))
    assert done.cuts == (STEM,)
    assert program.tensors()["body.0.weight"].shape == (12, 5, 3, 3)
    assert list(proof.refused) == ["body.0"]
    assert proof.refused["body.0"].startswith("its answers differ by ")
    assert done.locked == {"elsewhere": "refused before", **proof.refused}


def test_replaying_gives_the_same_program() -> None:
    program, done, _ = shrink(tiny_coupling(), a_plan(STEM, BODY))
    again = replay(tiny_coupling(), done)
    inputs = program.example(3)
    assert torch.equal(program.run(inputs), again.run(inputs))

"""Shrink: carry out a plan, with the oracle's proof on the user's own model."""

from __future__ import annotations

from edgeprune.core.errors import DocumentError
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.report import Proof
from edgeprune.core.units import format_ranges, format_shape
from edgeprune.graph.capture import Program
from edgeprune.graph.check import INPUTS, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.narrowing import dropped, narrowings
from edgeprune.graph.surgery import shrink as operate


def shrink(coupling: Coupling, plan: Plan) -> tuple[Program, Plan, Proof]:
    """The narrow program, the plan as it was carried out, and how exactly the two agree.

    Groups whose proof fails stay whole; the returned plan names them under `locked`.

    Raises
    ------
    DocumentError
        The plan belongs to another network, or contradicts itself.
    """
    _require_this_network(coupling, plan)
    _require_consistent(coupling, plan)
    proven = prove(coupling, plan.cuts)
    narrowed = coupling.narrowed(proven.cuts)
    done = plan.model_copy(
        update={
            "input": coupling.program.input_size,
            "cuts": proven.cuts,
            "tensors": narrowings(coupling, proven.cuts),
            "dropped": dropped(coupling, proven.cuts),
            "after": count(coupling, narrowed),
            "locked": {**plan.locked, **proven.refused},
        }
    )
    measured = count(couple(proven.program.afresh()))
    # A prediction that a fresh count contradicts is a bug in a rule, not the user's mistake.
    assert measured.model_copy(update={"peak_activation_bytes": 0}) == done.after.model_copy(
        update={"peak_activation_bytes": 0}
    ), f"predicted {done.after}, counted {measured}"
    return (
        proven.program,
        done,
        Proof(
            inputs=INPUTS,
            relative_error=proven.relative_error,
            refused=proven.refused,
            inexact=_inexact(coupling, proven.cuts),
        ),
    )


def replay(coupling: Coupling, plan: Plan) -> Program:
    """Repeat a plan that was proven before, without the proof."""
    return operate(coupling, plan.cuts)


def _inexact(coupling: Coupling, cuts: tuple[Cut, ...]) -> dict[str, tuple[str, ...]]:
    allowed = {group.id: group.inexact for group in coupling.groups}
    return {cut.group: allowed[cut.group] for cut in cuts if allowed[cut.group]}


def _require_this_network(coupling: Coupling, plan: Plan) -> None:
    own, size = coupling.program.fingerprint(), coupling.program.input_size
    if plan.input not in {(), size}:
        raise DocumentError(
            f"plan: made for inputs of {format_shape(plan.input)}, this network takes {format_shape(size)}",
            hint="give --input as it was when the plan was made, or make a new plan",
        )
    if plan.graph != own:
        raise DocumentError(
            f"plan: made for graph {plan.graph}, this network is {own}",
            hint="the network changed since; make a new plan",
        )


def _require_consistent(coupling: Coupling, plan: Plan) -> None:
    """What a plan says of its tensors must follow from its cuts; it may say nothing."""
    if not plan.tensors and not plan.dropped:
        return
    if set(plan.dropped) != set(dropped(coupling, plan.cuts)):
        raise DocumentError(
            "plan: 'dropped' does not name the tensors that go by its cuts",
            hint="after editing cuts by hand delete 'tensors' and 'dropped'; they are worked out again",
        )
    expected = narrowings(coupling, plan.cuts)
    for name in dict.fromkeys([*expected, *plan.tensors]):
        said, follows = plan.tensors.get(name), expected.get(name)
        if said is None or follows is None or _stays(said) != _stays(follows):
            raise DocumentError(
                f"plan: tensor '{name}' {_described(said)}, by the cuts it {_described(follows)}",
                hint="after editing cuts by hand delete 'tensors'; they are worked out again",
            )


def _stays(narrowing: Narrowing) -> tuple[object, ...]:
    return narrowing.shape, narrowing.kept, narrowing.blocks


def _described(narrowing: Narrowing | None) -> str:
    if narrowing is None:
        return "stays whole"
    kept = (f"{format_ranges(ones)} of axis {axis}" for axis, ones in sorted(narrowing.kept.items()))
    return f"({format_shape(narrowing.shape)}) keeps {', '.join(kept)}"

"""Shrink: carry out a plan, with the oracle's proof on the user's own model."""

from __future__ import annotations

from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.report import Proof
from edgeprune.graph.capture import Program
from edgeprune.graph.check import INPUTS, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.surgery import shrink as operate


def shrink(coupling: Coupling, plan: Plan) -> tuple[Program, Plan, Proof]:
    """The narrow program, the plan as it was carried out, and how exactly the two agree.

    Groups whose proof fails stay whole; the returned plan names them under `locked`.

    Raises
    ------
    DocumentError
        The plan belongs to another network.
    """
    if plan.graph != coupling.program.fingerprint():
        raise DocumentError(
            f"plan: made for graph {plan.graph}, this network is {coupling.program.fingerprint()}",
            hint="the network changed since; make a new plan",
        )
    proven = prove(coupling, plan.cuts)
    narrowed = coupling.narrowed(proven.cuts)
    done = plan.model_copy(
        update={
            "cuts": proven.cuts,
            "after": count(coupling, narrowed),
            "locked": {**plan.locked, **proven.refused},
        }
    )
    fresh = couple(Program(proven.program.exported().module(check_guards=False), coupling.program.inputs))
    measured = count(fresh)
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

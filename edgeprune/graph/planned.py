"""Planned: the plan that makes some cuts, with all that follows from them."""

from __future__ import annotations

from edgeprune.core.plan import Cut, Plan
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.narrowing import dropped, narrowings


def plan_of(coupling: Coupling, cuts: tuple[Cut, ...], criterion: str, budget: str, *, seed: int = 0) -> Plan:
    """The plan that makes these cuts; `budget` is what was asked for, in words."""
    return Plan(
        graph=coupling.program.fingerprint(),
        input=coupling.program.input_size,
        criterion=criterion,
        budget=budget,
        seed=seed,
        before=count(coupling),
        after=count(coupling, coupling.narrowed(cuts)),
        cuts=cuts,
        allow_inexact=tuple(sorted({name for group in coupling.groups for name in group.inexact})),
        tensors=narrowings(coupling, cuts),
        dropped=dropped(coupling, cuts),
    )

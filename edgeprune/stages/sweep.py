"""Sweep: decide which units go because no connection reads them any more."""

from __future__ import annotations

from edgeprune.core.plan import Plan
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.dead import dead_cuts
from edgeprune.graph.narrowing import dropped, narrowings


def sweep(coupling: Coupling, *, criterion: str, budget: str, seed: int = 0) -> Plan:
    """A plan without the units whose every reader is zero, which changes no answer; empty without such."""
    cuts = dead_cuts(coupling)
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

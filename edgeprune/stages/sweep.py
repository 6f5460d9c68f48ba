"""Sweep: decide which units go because no connection reads them any more."""

from __future__ import annotations

from edgeprune.core.plan import Plan
from edgeprune.graph.couple import Coupling
from edgeprune.graph.dead import dead_cuts
from edgeprune.graph.planned import plan_of


def sweep(coupling: Coupling, *, criterion: str, budget: str, seed: int = 0) -> Plan:
    """A plan without the units whose every reader is zero, which changes no answer; empty without such."""
    return plan_of(coupling, dead_cuts(coupling), criterion, budget, seed=seed)

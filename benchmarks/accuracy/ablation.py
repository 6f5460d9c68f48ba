"""Ablation: the default with one part of it exchanged or left out at a time.

Parts that no option turns off are turned off by giving private names of the stages another value; each
row says which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.accuracy.trial import Switch, Trial

DEFAULT = "default"


def trials(criterion: str) -> list[Trial]:
    """All rows, the default first."""
    return [
        Trial(DEFAULT, criterion),
        *(Trial(f"criterion {other}", other) for other in ("l2", "f", "random") if other != criterion),
        Trial("the same share of every group", criterion, uniform=True),
        Trial("no refit", criterion, refit=False),
        Trial("harm not measured at the outputs", criterion, switches=(_UNMEASURED,)),
        Trial("only layers that lost inputs refitted", criterion, switches=(_ONLY_CUT,)),
        Trial("no drift in the target", criterion, switches=(_NO_DRIFT,)),
        Trial("no rectified targets", criterion, switches=(_NOT_RECTIFIED,)),
        Trial("pairs of layers not moved together", criterion, switches=(_NOT_RECONSTRUCTED,)),
    ]


def _only_cut(affected: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def found(coupling: Any, plan: Any) -> list[Any]:
        cut = {cut.group for cut in plan.cuts}
        groups = [group for group in coupling.groups if group.id in cut]
        read = {piece.tensor for group in groups for piece in group.of_role("consumer")}
        return [one for one in affected(coupling, plan) if one.weight in read]

    return found


_UNMEASURED = Switch(
    ("edgeprune.stages.screen:_with_measured_harm",), lambda before: lambda found, *rest: found
)
_ONLY_CUT = Switch(
    ("edgeprune.stages.compensate:affected", "edgeprune.stages.compensate:_affected"), _only_cut
)
_NOT_RECTIFIED = Switch(
    ("edgeprune.graph.ridge:_RECTIFIED", "edgeprune.stages.compensate:_RECTIFIED"), lambda before: 0
)
_NOT_RECONSTRUCTED = Switch(("edgeprune.graph.walk:PASSES",), lambda before: 0)
_NO_DRIFT = Switch(
    ("edgeprune.graph.walk:Walk._present_partner",),
    lambda before: lambda walk, one: None,
)

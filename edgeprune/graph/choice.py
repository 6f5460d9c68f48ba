"""Choice: which of several criteria loses least, by the refit error of the cuts that each would make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.core.group import Group
from edgeprune.core.protocols import Criterion, Evidence
from edgeprune.graph.evidence import GroupEvidence

# A quarter, half and three quarters of a group's units: where plans end up.
_SHARES = (0.25, 0.5, 0.75)


def harms_of(
    candidates: Sequence[Criterion], groups: Sequence[Group], rankings: Evidence, judge: GroupEvidence
) -> list[float] | None:
    """What cutting by each candidate would lose, the refit errors of all groups added up as a plan does.

    Parameters
    ----------
    rankings : Evidence
        What the candidates rank by; gathered from other images than `judge`, no image has a say in both.
    judge : GroupEvidence
        The second moments that the refit errors are computed from.

    Returns
    -------
    Harm per group and per share of its units, one number for each candidate; None where no layer reads
    any group linearly.
    """
    per_group = [
        found
        for group in groups
        if (found := judge.harms(group, _removals(candidates, group, rankings))) is not None
    ]
    if not per_group:
        return None
    harm = np.reshape(per_group, (len(per_group), len(candidates), len(_SHARES)))
    return [float(value) for value in harm.mean((0, 2))]


def _removals(candidates: Sequence[Criterion], group: Group, rankings: Evidence) -> list[list[int]]:
    """The units that go first, for each candidate and each share."""
    orders = [np.argsort(one.score(group, rankings), kind="stable").tolist() for one in candidates]
    return [order[: round(share * group.units)] for order in orders for share in _SHARES]

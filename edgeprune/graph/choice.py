"""Choice: which of several criteria loses least, by the refit error of the cuts that each would make.

The first candidate is taken unless another one is better by more than chance: candidates that are equally
good come out in another order with every draw of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Criterion, Evidence
from edgeprune.graph.evidence import GroupEvidence

# A quarter, half and three quarters of a group's units: where plans end up.
_SHARES = (0.25, 0.5, 0.75)
_LEVEL = 0.05
_ROUNDING = 1e-6
"""Of the mean harm: what differs by less between groups differs by rounding."""


def harms_of(
    candidates: Sequence[Criterion], groups: Sequence[Group], rankings: Evidence, judge: GroupEvidence
) -> NDArray[np.float64] | None:
    """What cutting by each candidate would lose, as refit errors.

    Parameters
    ----------
    rankings : Evidence
        What the candidates rank by; gathered from other images than `judge`, no image has a say in both.
    judge : GroupEvidence
        The second moments that the refit errors are computed from.

    Returns
    -------
    Mean harm over the shares of a group's units, shape (candidates, groups); None where no layer reads any
    group linearly.
    """
    per_group = [
        found
        for group in groups
        if (found := judge.harms(group, _removals(candidates, group, rankings))) is not None
    ]
    if not per_group:
        return None
    harm = np.reshape(per_group, (len(per_group), len(candidates), len(_SHARES)))
    return np.asarray(harm.mean(2).T)


def least(harms: NDArray[np.float64]) -> tuple[int, list[float | None]]:
    """The candidate to take, and for each the p-value that it loses no less than the first.

    Of those that lose less by a one-sided paired t-test over the groups, with Holm's correction for their
    number, the one that loses least; the first where there is none. A p-value is None where no test is
    possible: of the first itself, of one that differs from it in no group or by as much in all.
    """
    from scipy.stats import t as student
    from statsmodels.stats.multitest import multipletests

    p_values: list[float | None] = [None] * len(harms)
    differences = harms - harms[0]
    groups = harms.shape[1]
    for place, one in enumerate(differences):
        if groups > 1 and (error := one.std(ddof=1) / np.sqrt(groups)) > _ROUNDING * harms[0].mean():
            p_values[place] = float(student.cdf(one.mean() / error, groups - 1))
    tested = [place for place, p_value in enumerate(p_values) if p_value is not None]
    if not tested:
        return 0, p_values
    better, *_ = multipletests([p_values[place] for place in tested], alpha=_LEVEL, method="holm")
    able = [0, *(place for place, passed in zip(tested, better, strict=True) if passed)]
    return min(able, key=lambda place: harms[place].mean()), p_values


def _removals(candidates: Sequence[Criterion], group: Group, rankings: Evidence) -> list[list[int]]:
    """The units that go first, for each candidate and each share.

    In order: the same units have the same harm, to the last bit.
    """
    orders = [np.argsort(one.score(group, rankings), kind="stable").tolist() for one in candidates]
    return [sorted(order[: round(share * group.units)]) for order in orders for share in _SHARES]

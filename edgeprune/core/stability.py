"""Rank stability: how far a ranking by F would change with other images, or with other classes.

Both need nothing but the moments, so that memory stays O(classes x units). Redrawn classes are drawn with
replacement, as the ordinary bootstrap does. Redrawn images are drawn from the moments: every class mean
with its own standard error, the variance within from its chi-squared distribution (a parametric
bootstrap). docs/decisions/0006-rank-stability.md has what it was measured against.
"""

from __future__ import annotations

import numpy as np

from edgeprune.core.moments import ClassMoments, Floats

RESAMPLES = 100


def f_of_redrawn_images(moments: ClassMoments, *, seed: int) -> Floats:
    """F per unit if other images of the same classes had been seen, shape (resamples, units).

    Moments of the same number of classes and units get the same draws: what one unit answers in several
    places comes from the same images.
    """
    random = np.random.default_rng(seed)
    count, mean, m2 = _seen(moments)
    freedom = max(float(count.sum()) - len(count), 1.0)
    column = count[:, None]
    # A single image does not show its class's variance.
    variance = np.where(column > 1, m2 / np.maximum(column - 1, 1), m2.sum(0) / freedom)
    error = np.sqrt(variance / column)
    found: list[Floats] = []
    for _ in range(RESAMPLES):
        drawn = mean + error * random.standard_normal(mean.shape)
        spread = random.chisquare(freedom, mean.shape[1]) / freedom
        found.append(ClassMoments(count, drawn, m2 * spread).f_statistic())
    return np.stack(found)


def f_of_redrawn_classes(moments: ClassMoments, *, seed: int) -> Floats | None:
    """F per unit if other classes had been seen, shape (resamples, units); None of fewer than three."""
    random = np.random.default_rng(seed)
    count, mean, m2 = _seen(moments)
    if len(count) < 3:
        return None
    found: list[Floats] = []
    while len(found) < RESAMPLES:
        drawn = random.integers(0, len(count), len(count))
        if len(np.unique(drawn)) > 1:  # one class alone compares nothing
            found.append(ClassMoments(count[drawn], mean[drawn], m2[drawn]).f_statistic())
    return np.stack(found)


def rank_correlations(f_statistic: Floats, redrawn: Floats) -> Floats | None:
    """Spearman's correlation of a ranking with each of its redraws, shape (resamples,).

    None where there is no ranking: one unit, or the same F for all. A redraw without one counts as zero.
    """
    ranks, others = _standard_ranks(f_statistic[None]), _standard_ranks(redrawn)
    return np.asarray((others * ranks).mean(1)) if ranks.any() else None


def share_in_lowest_half(redrawn: Floats) -> Floats:
    """How often each unit is among the lower half by F, shape (units,)."""
    from scipy.stats import rankdata

    units = redrawn.shape[1]
    return np.asarray((rankdata(redrawn, method="ordinal", axis=1) <= units // 2).mean(0))


def _seen(moments: ClassMoments) -> tuple[Floats, Floats, Floats]:
    seen = moments.count > 0
    return moments.count[seen], moments.mean[seen], moments.m2[seen]


def _standard_ranks(values: Floats) -> Floats:
    """Ranks along the rows with mean zero and deviation one; zero where all values are the same."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=1)
    ranks = ranks - ranks.mean(1, keepdims=True)
    deviation = ranks.std(1, keepdims=True)
    return np.asarray(ranks / np.where(deviation > 0, deviation, 1.0))

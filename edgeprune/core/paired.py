"""Paired answers of two networks to the same images: how sure a drop in accuracy is, and how large.

Everything follows from the two discordant counts: images that only the first network answers rightly
(`lost`) and images that only the second does (`gained`). Images on which both agree say nothing about
which of the two is better, so an interval from paired counts is narrower than two separate ones.

Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
paired-sample design, Statistics in Medicine 17, 891-908. McNemar (1947), Psychometrika 12, 153-157.
"""

from __future__ import annotations

import math


def mcnemar_p_value(lost: int, gained: int) -> float:
    """Two-sided p-value of McNemar's exact test: that both networks are right equally often."""
    from statsmodels.stats.contingency_tables import mcnemar

    # The concordant counts of the table do not enter the exact test.
    return float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)


def confidence_of_drop(lost: int, gained: int, images: int, *, at_most: float) -> float:
    """Confidence, 0 to 1, that the true drop is at most so many points of accuracy (one-sided).

    It is the level at which the upper limit of Tango's score interval is `at_most`: "at most one point
    at 95 %" holds where the answer for 1.0 is at least 0.95.

    Raises
    ------
    ValueError
        Counts that no table of `images` images has.
    """
    _check(lost, gained, images)
    from scipy.stats import norm

    return float(norm.cdf(-_score(lost, gained, images, at_most / 100)))


def drop_interval(lost: int, gained: int, images: int, *, level: float = 0.95) -> tuple[float, float]:
    """Tango's two-sided score interval of the drop, in points of accuracy.

    Raises
    ------
    ValueError
        Counts that no table of `images` images has.
    """
    _check(lost, gained, images)
    from scipy.stats import norm

    quantile = float(norm.ppf((1 + level) / 2))
    return (
        100 * _where_score_is(quantile, lost, gained, images),
        100 * _where_score_is(-quantile, lost, gained, images),
    )


def images_to_show(at_most: float, confidence: float) -> int:
    """How many images it takes to show a drop of at most so many points, if not one answer changes.

    From the statistic without discordant images, `images * d / (1 - d) = z ** 2` with d the share: fewer
    images show it at this confidence under no circumstances.
    """
    from scipy.stats import norm

    share = at_most / 100
    quantile = max(0.0, float(norm.ppf(confidence)))
    return max(1, math.ceil(quantile**2 * (1 - share) / share))


def _check(lost: int, gained: int, images: int) -> None:
    if min(lost, gained) < 0 or images < max(1, lost + gained):
        raise ValueError(f"{lost} lost and {gained} gained of {images} images is no table of paired answers")


def _score(lost: int, gained: int, images: int, drop: float) -> float:
    """Tango's statistic: standard normal where `drop` (a share of the images) is the true one."""
    if abs(drop) >= 1:
        return math.copysign(math.inf, -drop)
    distance = lost - gained - images * drop
    # The share of gained images that is most likely if the drop is the given one: the positive root of
    # 2n p^2 + b p - gained * drop * (1 - drop).
    b = (2 * images - lost + gained) * drop - lost - gained
    root = math.sqrt(max(0.0, b * b + 8 * images * gained * drop * (1 - drop)))
    variance = images * (2 * (root - b) / (4 * images) + drop * (1 - drop))
    # Without discordant images and without a drop nothing is known either way.
    return distance / math.sqrt(variance) if variance > 0 else 0.0


def _where_score_is(value: float, lost: int, gained: int, images: int) -> float:
    """The drop at which the statistic, which falls with it, has a value."""
    from scipy.optimize import brentq

    edge = 1 - 1e-12
    if _score(lost, gained, images, -edge) <= value:
        return -1.0
    if _score(lost, gained, images, edge) >= value:
        return 1.0
    return float(brentq(lambda drop: _score(lost, gained, images, drop) - value, -edge, edge, xtol=1e-9))

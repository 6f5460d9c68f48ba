"""Class statistics: what the moments per class say of a group's units, as a screening document holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.moments import LARGEST, ClassMoments, comparable
from edgeprune.core.sample_size import POWER, required_images
from edgeprune.core.screening import Agreement, RankStability, ServedClasses
from edgeprune.core.stability import (
    f_of_redrawn_classes,
    f_of_redrawn_images,
    rank_correlations,
    share_in_lowest_half,
)

_FDR = 0.05


def class_statistics(
    f_statistic: NDArray[np.float64],
    p_value: NDArray[np.float64],
    moments: Sequence[ClassMoments],
    order: NDArray[np.int64],
    *,
    seed: int,
    power: float = POWER,
) -> dict[str, Any]:
    """The fields of a `GroupScreening` that compare classes.

    Parameters
    ----------
    moments : of ClassMoments
        One for each place in which the group is read.
    order : array of shape (units,)
        The units from the first to be cut to the last.
    power : float
        With which the required images are to find the median unit's effect.
    """
    omega_squared = _mean([one.omega_squared() for one in moments])
    count = moments[0].count
    welch = [one.welch()[0] for one in moments] if comparable(count, 2) else None
    return {
        "f_statistic": rounded(f_statistic),
        "p_value": rounded(p_value),
        "significant": _significant(p_value),
        "welch_f": None if welch is None else rounded(_mean(welch)),
        "omega_squared": rounded(omega_squared),
        "required_images": required_images(
            float(np.median(omega_squared)), int((count > 0).sum()), power=power
        ),
        "stability": _stability(f_statistic, moments, seed),
        "classes": _served(_mean([one.contrasts() for one in moments]), order[: len(order) // 2]),
    }


def _significant(p_value: NDArray[np.float64]) -> int:
    from statsmodels.stats.multitest import multipletests

    return int(multipletests(p_value, alpha=_FDR, method="fdr_bh")[0].sum())


def _stability(
    f_statistic: NDArray[np.float64], moments: Sequence[ClassMoments], seed: int
) -> RankStability | None:
    """How the ranking holds when images and classes are redrawn, in all places of the group alike."""
    images = _mean([f_of_redrawn_images(one, seed=seed) for one in moments])
    by_images = rank_correlations(f_statistic, images)
    if by_images is None:
        return None
    redrawn = [f_of_redrawn_classes(one, seed=seed) for one in moments]
    told = [one for one in redrawn if one is not None]
    by_classes = rank_correlations(f_statistic, _mean(told)) if told else None
    return RankStability(
        images=_agreement(by_images),
        classes=None if by_classes is None else _agreement(by_classes),
        lowest_half=rounded(share_in_lowest_half(images)),
    )


def _agreement(correlations: NDArray[np.float64]) -> Agreement:
    low, high = np.quantile(correlations, [0.025, 0.975])
    return Agreement(
        mean=round(float(correlations.mean()), 4), interval=(round(float(low), 4), round(float(high), 4))
    )


def _served(contrasts: NDArray[np.float64], lowest: NDArray[np.int64]) -> ServedClasses:
    """From contrasts of shape (classes, units), and the units that would go first."""
    best = contrasts.argmax(0)
    squares = np.square(contrasts)
    whole = squares.sum(1)
    lost = squares[:, lowest].sum(1) / np.where(whole > 0, whole, 1.0)
    return ServedClasses(
        serves=tuple(best.tolist()),
        contrast=rounded(contrasts[best, np.arange(contrasts.shape[1])]),
        lost=rounded(lost),
    )


def _mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Over the places in which a group is read; infinity counts as a very large number."""
    finite = [np.nan_to_num(each, posinf=LARGEST, neginf=-LARGEST) for each in values]
    return np.asarray(np.mean(finite, axis=0), dtype=np.float64)


def rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Nine significant digits: enough to rank by, and readable in the document."""
    finite = np.nan_to_num(values, posinf=LARGEST, neginf=-LARGEST)
    return tuple(float(f"{value:.9g}") for value in finite.tolist())

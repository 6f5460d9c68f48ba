"""Mergeable moments per (unit, class), and the one-way analysis of variance they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """Count, mean and sum of squared deviations; memory is O(units x classes), whatever was seen.

    `count` has shape (classes,), `mean` and `m2` (classes, units).
    """

    count: Floats
    mean: Floats
    m2: Floats

    @classmethod
    def empty(cls, classes: int, units: int) -> ClassMoments:
        """Moments of nothing."""
        return cls(np.zeros(classes), np.zeros((classes, units)), np.zeros((classes, units)))

    @classmethod
    def of(cls, values: Floats, labels: NDArray[np.int64], classes: int) -> ClassMoments:
        """Moments of one batch: values (n, units), labels (n,)."""
        member = np.zeros((classes, len(labels)))
        member[labels, np.arange(len(labels))] = 1
        count = member.sum(1)
        mean = (member @ values) / np.maximum(count, 1)[:, None]
        m2 = member @ (values - mean[labels]) ** 2
        return cls(count, mean, m2)

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Moments of both together (Chan, Golub & LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        return ClassMoments(
            count=count,
            mean=self.mean + delta * share[:, None],
            m2=self.m2 + other.m2 + delta**2 * (self.count * share)[:, None],
        )

    def anova(self) -> tuple[Floats, Floats]:
        """One-way F statistic and p-value per unit, shape (units,).

        Classes without samples do not count. A unit that is constant within every class has F zero
        when its class means agree too (nothing to tell apart), infinity otherwise.
        """
        from scipy.stats import f as f_distribution

        seen = self.count > 0
        count, mean = self.count[seen], self.mean[seen]
        total, groups = count.sum(), int(seen.sum())
        if groups < 2 or total <= groups:
            units = mean.shape[1]
            return np.zeros(units), np.ones(units)
        grand = (count[:, None] * mean).sum(0) / total
        between = (count[:, None] * (mean - grand) ** 2).sum(0) / (groups - 1)
        within = self.m2[seen].sum(0) / (total - groups)
        # Rounding of the moments themselves: below it a difference says nothing.
        noise = np.finfo(np.float64).eps * (grand**2 + 1e-300) * total
        constant = within <= noise
        f = np.where(constant, 0.0, between / np.where(constant, 1.0, within))
        f = np.where(constant & (between > noise), np.inf, f)
        p_value = f_distribution.sf(f, groups - 1, total - groups)
        return f, np.where(constant & (between <= noise), 1.0, p_value)

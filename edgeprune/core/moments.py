"""Mergeable moments per (unit, class), and what they say about how the classes differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LARGEST = 1e12
"""Stands for infinity where documents and means need a number."""
_ROUNDING = float(np.finfo(np.float64).eps)


def comparable(count: NDArray[np.number], replicated: int = 1) -> bool:
    """Whether samples per class, shape (classes,), let classes be compared.

    Two classes or more must have been seen, and `replicated` of them twice or more: one is enough for a
    variance within that all classes share, Welch's F needs two with their own.
    """
    return int((count > 0).sum()) > 1 and int((count > 1).sum()) >= replicated


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

        scatter = _Scatter.of(self)
        if scatter is None:
            return self._nothing(), self._nothing() + 1
        f = scatter.f_statistic()
        p_value = f_distribution.sf(f, scatter.groups - 1, scatter.freedom)
        return f, np.where(scatter.constant & scatter.alike, 1.0, p_value)

    def f_statistic(self) -> Floats:
        """The F of `anova` without its p-value, which takes longer than everything else."""
        scatter = _Scatter.of(self)
        return self._nothing() if scatter is None else scatter.f_statistic()

    def welch(self) -> tuple[Floats, Floats, Floats]:
        """Welch's F, its denominator's degrees of freedom and p-value, shape (units,) each.

        Unlike `anova` it gives every class its own variance (Welch 1951, Biometrika 38, 330-336), so
        classes with fewer than two samples do not count. A class within which a unit is constant counts
        as one whose mean is known: two such with different means give infinity. A unit that is the same
        everywhere gives zero.
        """
        from scipy.stats import f as f_distribution

        if not comparable(self.count, 2):
            return self._nothing(), self._nothing(), self._nothing() + 1
        several = self.count > 1
        count, mean = self.count[several][:, None], self.mean[several]
        groups = len(mean)
        # A variance below the rounding of the moments says nothing; the floor keeps its weight finite.
        floor = _ROUNDING * ((count * mean**2).sum(0) / count.sum() + 1e-200)
        variance = self.m2[several] / (count - 1)
        weight = count / np.maximum(variance, floor)
        share = weight / weight.sum(0)
        between = (weight * (mean - (share * mean).sum(0)) ** 2).sum(0) / (groups - 1)
        doubt = ((1 - share) ** 2 / (count - 1)).sum(0)
        f = between / (1 + 2 * (groups - 2) * doubt / (groups**2 - 1))
        freedom = (groups**2 - 1) / (3 * doubt)
        constant = variance <= floor
        known = np.where(constant, mean, -np.inf).max(0) - np.where(constant, mean, np.inf).min(0)
        apart = known > np.sqrt(count.sum() * floor)
        f = np.where(apart, np.inf, np.where(constant.all(0), 0.0, f))
        return f, freedom, f_distribution.sf(f, groups - 1, freedom)

    def omega_squared(self) -> Floats:
        """Share of a unit's variance that the classes explain, 0 to 1, shape (units,).

        Corrected for what classes without any difference would seem to explain (Hays 1963, Statistics);
        estimates below zero are zero.
        """
        scatter = _Scatter.of(self)
        if scatter is None:
            return self._nothing()
        explained = (scatter.groups - 1) * (scatter.between - scatter.within)
        whole = explained + (scatter.freedom + scatter.groups) * scatter.within
        nothing = scatter.constant & scatter.alike
        return np.where(nothing, 0.0, np.clip(explained / np.where(nothing, 1.0, whole), 0.0, 1.0))

    def contrasts(self) -> Floats:
        """How far each class's mean is from that of all others, shape (classes, units).

        In standard deviations within the classes (Cohen's d with the pooled deviation); positive where
        the unit answers more to the class. Zero for classes without samples, infinite for a unit that is
        constant within every class but not across them.
        """
        scatter = _Scatter.of(self)
        found = np.zeros_like(self.mean)
        if scatter is None:
            return found
        seen = self.count > 0
        count, mean = self.count[seen][:, None], self.mean[seen]
        total = count.sum()
        rest = ((count * mean).sum(0) - count * mean) / (total - count)
        difference = mean - rest
        d = difference / np.sqrt(scatter.divisor)
        apart = np.where(difference**2 > scatter.noise, np.copysign(np.inf, difference), 0.0)
        found[seen] = np.where(scatter.constant, apart, d)
        return found

    def _nothing(self) -> Floats:
        return np.zeros(self.mean.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class _Scatter:
    """Mean squares between and within the classes, shape (units,) each, and their degrees of freedom."""

    groups: int
    freedom: float
    """Of the mean square within."""
    between: Floats
    within: Floats
    noise: Floats
    """Rounding of the moments themselves: below it a difference says nothing."""

    @classmethod
    def of(cls, moments: ClassMoments) -> _Scatter | None:
        """The mean squares; None where nothing can be compared: one class, or one sample in each."""
        if not comparable(moments.count):
            return None
        seen = moments.count > 0
        count, mean = moments.count[seen][:, None], moments.mean[seen]
        total, groups = float(count.sum()), len(mean)
        grand = (count * mean).sum(0) / total
        return cls(
            groups=groups,
            freedom=total - groups,
            between=(count * (mean - grand) ** 2).sum(0) / (groups - 1),
            within=moments.m2[seen].sum(0) / (total - groups),
            noise=_ROUNDING * (grand**2 + 1e-200) * total,
        )

    def f_statistic(self) -> Floats:
        """Between over within; zero or infinity of units that are constant within every class."""
        f = np.where(self.constant, 0.0, self.between / self.divisor)
        return np.where(self.constant & ~self.alike, np.inf, f)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Units that never vary within a class."""
        return self.within <= self.noise

    @property
    def alike(self) -> NDArray[np.bool_]:
        """Units with the same mean in every class."""
        return self.between <= self.noise

    @property
    def divisor(self) -> Floats:
        """The mean square within, one where it is zero."""
        return np.where(self.constant, 1.0, self.within)

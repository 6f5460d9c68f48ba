"""Criteria: evidence with known numbers, and what every criterion must make of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group, Role, Slice
from edgeprune.core.protocols import ConnectionCriterion, Criterion, Need

Floats = NDArray[np.float64]
NEEDS: frozenset[Need] = frozenset(get_args(Need))
"""Everything that can be gathered from images."""


@dataclass(frozen=True)
class FakeEvidence:
    """Evidence with known numbers: unit u has magnitude u + 1, F of 2 u, and is eliminated u-th.

    What is not `gathered` is None, as it is for a group that has none of it.
    """

    gathered: frozenset[Need] = NEEDS

    def magnitude(self, group: Group, order: float) -> Floats:
        """Ascending magnitudes."""
        return self._ascending(group) + 1

    def group_norm(self, group: Group) -> Floats:
        """Ascending norms: those of two slices of two weights."""
        return 2 * (self._ascending(group) + 1)

    def weights(self, group: Group, roles: Iterable[Role]) -> list[Floats]:
        """Two weights per slice of unit u, both u + 1."""
        wanted = set(roles)
        each = (self._ascending(group) + 1)[:, None, None]
        return [np.repeat(each, 2, axis=2) for piece in group.slices if piece.role in wanted]

    def gains(self, group: Group) -> Floats | None:
        """Ascending gains; they come from no images, so they are always there."""
        return self._ascending(group) / 10

    def f_statistic(self, group: Group) -> Floats | None:
        """Ascending F."""
        return 2 * self._ascending(group) if "moments" in self.gathered else None

    def welch_statistic(self, group: Group) -> Floats | None:
        """Ascending F of Welch's kind."""
        return 3 * self._ascending(group) if "moments" in self.gathered else None

    def elimination(self, group: Group, separation: float = 0.0) -> Floats | None:
        """Ascending harm, its square where it is asked for separation and outcomes are there."""
        if "gram" not in self.gathered:
            return None
        harm = np.linspace(0, 1, group.units)
        return harm**2 if separation and "outcomes" in self.gathered else harm

    def activation_weights(self, group: Group) -> list[Floats] | None:
        """Weights of readers that read ones."""
        return self.weights(group, ("consumer",)) if "activations" in self.gathered else None

    def saliency(self, group: Group) -> Floats | None:
        """Ascending squares."""
        return np.square(self._ascending(group)) if "gradients" in self.gathered else None

    def random(self, group: Group) -> Floats:
        """The same numbers every time."""
        return np.random.default_rng(0).random(group.units)

    def _ascending(self, group: Group) -> Floats:
        return np.arange(group.units, dtype=np.float64)


@dataclass(frozen=True)
class FakeConnectionEvidence:
    """Evidence on weights of one shape: entry k, in memory order, is k + 1, and column i has F of 2 i.

    What is not `gathered` is None, as it is where there is none of it.
    """

    shape: tuple[int, ...] = (4, 3)
    gathered: frozenset[Need] = NEEDS

    def magnitude(self, weight: str) -> Floats:
        """Ascending magnitudes."""
        return np.arange(1.0, 1 + np.prod(self.shape)).reshape(self.shape)

    def f_statistic(self, weight: str) -> Floats | None:
        """F that ascends with the input."""
        return 2 * self._inputs() if "moments" in self.gathered else None

    def welch_statistic(self, weight: str) -> Floats | None:
        """F of Welch's kind that ascends with the input."""
        return 3 * self._inputs() if "moments" in self.gathered else None

    def activation(self, weight: str) -> Floats | None:
        """Inputs of different size."""
        return 1 + self._inputs() if "activations" in self.gathered else None

    def saliency(self, weight: str) -> Floats | None:
        """Ascending squares."""
        return np.square(self.magnitude(weight)) if "gradients" in self.gathered else None

    def random(self, weight: str) -> Floats:
        """The same numbers every time."""
        return np.random.default_rng(0).random(self.shape)

    def _inputs(self) -> Floats:
        places = np.arange(float(self.shape[1])).reshape(-1, *[1] * (len(self.shape) - 2))
        return np.broadcast_to(places, self.shape)


def a_group(units: int = 4) -> Group:
    """A free group of `units` channels between two convolutions."""
    rows = np.arange(units, dtype=np.int64)[:, None]
    return Group(
        "conv1",
        units,
        (Slice("conv1.weight", 0, "producer", rows), Slice("conv2.weight", 1, "consumer", rows)),
    )


def check_criterion(criterion: Criterion, *, sizes: Sequence[int] = (2, 5, 16)) -> None:
    """Every criterion scores every unit with a finite number, twice alike, and by what it says it needs.

    What it does not need makes no difference, and a group that has no such evidence is scored all the same.
    """
    assert criterion.needs <= NEEDS, f"no such evidence: {', '.join(sorted(criterion.needs - NEEDS))}"
    for units in sizes:
        group = a_group(units)
        for gathered in (criterion.needs, frozenset[Need]()):
            scores = criterion.score(group, FakeEvidence(gathered))
            assert scores.shape == (units,)
            assert np.isfinite(scores).all()
            assert (criterion.score(group, FakeEvidence(gathered)) == scores).all()
        told, all_told = FakeEvidence(criterion.needs), FakeEvidence(NEEDS)
        assert (criterion.score(group, told) == criterion.score(group, all_told)).all(), (
            "it looks at evidence that its `needs` do not name"
        )


def check_connection_criterion(
    criterion: ConnectionCriterion, *, shapes: Sequence[tuple[int, ...]] = ((4, 3), (2, 3, 5, 5))
) -> None:
    """The same of a criterion of connections: finite, twice alike, by what it says it needs."""
    assert criterion.needs <= NEEDS, f"no such evidence: {', '.join(sorted(criterion.needs - NEEDS))}"
    for shape in shapes:
        for gathered in (criterion.needs, frozenset[Need]()):
            told = FakeConnectionEvidence(shape, gathered)
            scores = criterion.score_connections("weight", told)
            assert scores.shape == shape
            assert np.isfinite(scores).all()
            assert (criterion.score_connections("weight", told) == scores).all()
        told, all_told = FakeConnectionEvidence(shape, criterion.needs), FakeConnectionEvidence(shape)
        scores = criterion.score_connections("weight", told)
        assert (scores == criterion.score_connections("weight", all_told)).all(), (
            "it looks at evidence that its `needs` do not name"
        )

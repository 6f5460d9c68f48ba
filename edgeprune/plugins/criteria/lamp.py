"""Criterion `lamp`: the share of a unit among those that are not smaller; it needs no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class Lamp:
    """`--criterion lamp`: layer-adaptive magnitude score (Lee et al. 2021), here per unit.

    Squared norm of the producing weights over the sum of those that are not smaller. Within a group the
    order is that of the norms; the scores are made to be compared across layers, so what differs from `l2`
    is how a data-free plan shares the cut out between groups.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with a small share come first."""
        producers = evidence.weights(group, ("producer",))
        squares = np.asarray(sum(np.square(rows).sum((1, 2)) for rows in producers), dtype=np.float64)
        return _shares(squares)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """The paper's own score: connections with a small share come first."""
        squares = np.square(evidence.magnitude(weight))
        return _shares(squares.ravel()).reshape(squares.shape)


def _shares(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each square its share in the sum of those that are not smaller."""
    ascending = np.sort(squares)
    not_smaller = np.append(np.cumsum(ascending[::-1])[::-1], 0.0)
    total = not_smaller[np.searchsorted(ascending, squares)]
    return np.where(total > 0, squares / np.where(total > 0, total, 1.0), 0.0)

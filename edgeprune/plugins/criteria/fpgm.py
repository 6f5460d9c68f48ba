"""Criterion `fpgm`: how far a unit's weights are from those of all others; it needs no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need


@dataclass(frozen=True)
class Fpgm:
    """`--criterion fpgm`: filter pruning via geometric median (He et al. 2019).

    The sum of Euclidean distances to the other units' producing weights is least for the unit nearest to
    the geometric median: the one that the others can best stand in for. Several producers of one unit count
    as one long filter.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units in the middle of the others come first."""
        from scipy.spatial.distance import cdist

        producers = evidence.weights(group, ("producer",))
        filters = np.concatenate([rows.reshape(group.units, -1) for rows in producers], axis=1)
        return np.asarray(cdist(filters, filters).sum(1), dtype=np.float64)

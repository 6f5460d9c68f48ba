"""Criteria `l1` and `l2`: the size of the weights that produce a unit; they need no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class L1:
    """`--criterion l1`: sum of absolute weights (Li et al. 2017)."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with small weights come first."""
        return evidence.magnitude(group, 1)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Small weights come first (Han et al. 2015): of one weight both norms are its absolute value."""
        return evidence.magnitude(weight)


@dataclass(frozen=True)
class L2:
    """`--criterion l2`: Euclidean norm of the weights; the default without data."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with small weights come first."""
        return evidence.magnitude(group, 2)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Small weights come first (Han et al. 2015): of one weight both norms are its absolute value."""
        return evidence.magnitude(weight)

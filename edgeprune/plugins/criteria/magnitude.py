"""Criteria `l1` and `l2`: the size of the weights that produce a unit; they need no data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence


@dataclass(frozen=True)
class L1:
    """`--criterion l1`: sum of absolute weights (Li et al. 2017)."""

    needs_data: bool = field(default=False, init=False)
    needs_second_moments: bool = field(default=False, init=False)

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with small weights come first."""
        return evidence.magnitude(group, 1)


@dataclass(frozen=True)
class L2:
    """`--criterion l2`: Euclidean norm of the weights; the default without data."""

    needs_data: bool = field(default=False, init=False)
    needs_second_moments: bool = field(default=False, init=False)

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with small weights come first."""
        return evidence.magnitude(group, 2)

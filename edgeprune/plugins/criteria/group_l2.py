"""Criterion `group-l2`: the size of everything that goes with a unit; it needs no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need


@dataclass(frozen=True)
class GroupL2:
    """`--criterion group-l2`: Euclidean norm over all slices of a unit (DepGraph, Fang et al. 2023).

    The weights that make the unit, those that read it, and its per-channel parameters: a unit counts for
    little only where all of them are small. Running statistics are no weights and are left out.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with small weights everywhere come first."""
        return evidence.group_norm(group)

"""Criterion `refit`: what a unit's absence costs after its readers were refitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need


@dataclass(frozen=True)
class Refit:
    """`--criterion refit`: greedy elimination by the smallest increase of the refit error."""

    needs: ClassVar[frozenset[Need]] = frozenset({"gram"})

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that the others can stand in for come first; magnitude where nothing reads them linearly."""
        elimination = evidence.elimination(group)
        return evidence.magnitude(group, 2) if elimination is None else elimination

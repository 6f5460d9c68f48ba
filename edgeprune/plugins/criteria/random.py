"""Criterion `random`: the row every table needs beside the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence


@dataclass(frozen=True)
class Random:
    """`--criterion random`: seeded uniform scores."""

    needs_data: bool = field(default=False, init=False)
    needs_second_moments: bool = field(default=False, init=False)

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units in random order."""
        return evidence.random(group)

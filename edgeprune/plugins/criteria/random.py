"""Criterion `random`: the row every table needs beside the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class Random:
    """`--criterion random`: seeded uniform scores."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units in random order."""
        return evidence.random(group)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Connections in random order."""
        return evidence.random(weight)

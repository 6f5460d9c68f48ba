"""Criterion `wanda`: how much of what arrives at the readers comes from a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class Wanda:
    """`--criterion wanda`: weights and activations (Sun et al. 2023), here per unit.

    The sum over all weights that read the unit of absolute weight times the root mean square of what it
    reads. The mean instead of the paper's sum of squares lets readers at several resolutions be added up.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"activations"})

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that hardly reach their readers come first; magnitude where no weight reads the group."""
        readers = evidence.activation_weights(group)
        if readers is None:
            return evidence.magnitude(group, 2)
        return np.asarray(sum(rows.sum((1, 2)) for rows in readers), dtype=np.float64)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """The paper's own score: absolute weight times the root mean square of what it reads."""
        read = evidence.activation(weight)
        magnitude = evidence.magnitude(weight)
        return magnitude if read is None else magnitude * read

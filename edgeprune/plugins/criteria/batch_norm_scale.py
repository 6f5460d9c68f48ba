"""Criterion `bn-scale`: the gain a batch norm gives to a unit; it needs no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need


@dataclass(frozen=True)
class BatchNormScale:
    """`--criterion bn-scale`: mean absolute gain of its batch norms (network slimming, Liu et al. 2017).

    Says most about networks that were trained with a penalty on the gains. A group without batch norm, or
    whose norms have no gains, is ranked by the Euclidean norm of its weights, as `l2` does.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units with a small gain come first."""
        gains = evidence.gains(group)
        return evidence.magnitude(group, 2) if gains is None else gains

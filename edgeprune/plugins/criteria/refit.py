"""Criterion `refit`: what a unit's absence costs after its readers were refitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need


@dataclass(frozen=True)
class Refit:
    """`--criterion refit`: greedy elimination by the smallest increase of the refit error.

    With `refit?separation=0.5` half of what counts is how far errors move Fisher's discriminants of the
    layers that read the group: between-class against within-class scatter, as in the F statistic.
    """

    separation: Annotated[float, Field(ge=0, le=1)] = 0.0

    @property
    def needs(self) -> frozenset[Need]:
        """Second moments; for separation also what classes there are in the readers' answers."""
        return frozenset({"gram", "outcomes"}) if self.separation else frozenset({"gram"})

    @property
    def replicated_classes(self) -> int:
        """Separation divides by the variance within the classes, which one of them has to show."""
        return 1 if self.separation else 0

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that the others can stand in for come first; magnitude where nothing reads them linearly."""
        elimination = evidence.elimination(group, self.separation)
        return evidence.magnitude(group, 2) if elimination is None else elimination

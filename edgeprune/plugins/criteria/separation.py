"""Criteria `f` and `welch`: how far a unit tells the classes apart, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class FStatistic:
    """`--criterion f`: one-way ANOVA F of each unit's mean activation across classes (Fisher 1925).

    `screening` without its magnitude part: what the F statistic says by itself.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"moments"})
    replicated_classes: ClassVar[int] = 1

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that separate no class come first; magnitude where no layer reads the group by itself."""
        found = evidence.f_statistic(group)
        return evidence.magnitude(group, 2) if found is None else found

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Connections that read what separates no class come first; magnitude where nothing is known."""
        found = evidence.f_statistic(weight)
        return evidence.magnitude(weight) if found is None else found


@dataclass(frozen=True)
class Welch:
    """`--criterion welch`: Welch's F (1951), which lets every class have its own variance.

    A unit that answers to one class varies most within that class; the plain F takes all classes to vary
    alike.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"moments"})
    replicated_classes: ClassVar[int] = 2

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that separate no class come first; magnitude where no layer reads the group by itself."""
        found = evidence.welch_statistic(group)
        return evidence.magnitude(group, 2) if found is None else found

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Connections that read what separates no class come first; magnitude where nothing is known."""
        found = evidence.welch_statistic(weight)
        return evidence.magnitude(weight) if found is None else found

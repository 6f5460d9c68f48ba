"""Criterion `screening`: the weighted F-statistic and magnitude of arXiv 2502.07189."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence


@dataclass(frozen=True)
class Screening:
    """`--criterion screening`: alpha * norm(F) + (1 - alpha) * norm(magnitude).

    The default weight is a first choice; it has not been tuned.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.3
    needs_data: bool = field(default=True, init=False)
    needs_second_moments: bool = field(default=False, init=False)

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units that separate no class and carry little weight come first."""
        f_statistic = evidence.f_statistic(group)
        magnitude = _normalised(evidence.magnitude(group, 2))
        if f_statistic is None:  # no layer reads the group by itself
            return magnitude
        return self.alpha * _normalised(f_statistic) + (1 - self.alpha) * magnitude


def _normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to 0..1 within the group; constant values become zero."""
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)

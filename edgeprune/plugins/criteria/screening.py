"""Criterion `screening`: the weighted F-statistic and magnitude of arXiv 2502.07189."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need

Floats = NDArray[np.float64]

ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)
"""The weights of F that are compared where none is given."""
_UNDECIDED = 0.3
"""Where nothing could be compared, as no layer reads any group linearly."""


@dataclass(frozen=True)
class Screening:
    """`--criterion screening`: alpha * norm(F) + (1 - alpha) * norm(magnitude).

    Without `alpha` the run chooses the weight of F by refit error, 0 unless another loses less by more than
    chance (of connections the one that loses least), see `candidates`. `norm` scales to 0..1 within the
    group: `minmax` the values as they are, `log` log(1 + F) and the magnitude, `rank` the ranks of both.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    norm: Literal["minmax", "log", "rank"] = "minmax"
    needs: ClassVar[frozenset[Need]] = frozenset({"moments"})

    def score(self, group: Group, evidence: Evidence) -> Floats:
        """Units that separate no class and carry little weight come first.

        A unit's magnitude is the norm of everything that goes with it, as `group-l2` has it: what is small
        in its readers is no loss either (docs/decisions/0017-group-magnitude.md).
        """
        return self._weighted(evidence.f_statistic(group), evidence.group_norm(group))

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> Floats:
        """Connections that separate no class and carry little weight come first.

        What connection (i -> j) adds to its output is w_ij a_i. The factor w_ij is the same for every
        image and F does not change with the unit of measurement, so its F across classes is that of
        a_i, the activation it reads (of a convolution, its mean over positions): F tells inputs apart,
        the magnitude the connections of one input. Both are scaled within the weight.
        """
        return self._weighted(evidence.f_statistic(weight), evidence.magnitude(weight))

    def candidates(self) -> tuple[Screening, ...]:
        """Itself with every weight that is worth comparing; none when the weight was given."""
        return tuple(replace(self, alpha=alpha) for alpha in ALPHAS) if self.alpha is None else ()

    def _weighted(self, f_statistic: Floats | None, sizes: Floats) -> Floats:
        """The sum of both parts; the sizes alone where nothing is known of the classes."""
        magnitude = self._normalised(sizes)
        if f_statistic is None:
            return magnitude
        alpha = _UNDECIDED if self.alpha is None else self.alpha
        separation = self._normalised(np.log1p(f_statistic) if self.norm == "log" else f_statistic)
        return alpha * separation + (1 - alpha) * magnitude

    def _normalised(self, values: Floats) -> Floats:
        """Scale to 0..1 within the group; constant values become zero."""
        scaled = _ranks(values) if self.norm == "rank" else values
        span = scaled.max() - scaled.min()
        return (scaled - scaled.min()) / span if span > 0 else np.zeros_like(scaled)


def _ranks(values: Floats) -> Floats:
    """How many values are smaller, plus half of those that are equal."""
    ascending = np.sort(values)
    below, not_above = np.searchsorted(ascending, values), np.searchsorted(ascending, values, side="right")
    return np.asarray((below + not_above) / 2, dtype=np.float64)

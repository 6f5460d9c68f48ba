"""Criterion `taylor`: how much the loss would change, to first order, without a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Group
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need


@dataclass(frozen=True)
class Taylor:
    """`--criterion taylor`: first-order Taylor expansion (Molchanov et al. 2019).

    The mean over small batches of the squared sum of weight times gradient over the weights that read the
    unit: the gradient of a gate on what they read. The loss is cross-entropy where the images have class
    labels that fit the output, and otherwise the output's energy, half its squared norm (Aljundi et al.
    2018).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"gradients"})

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """Units the loss hardly notices come first."""
        saliency = evidence.saliency(group)
        return evidence.magnitude(group, 2) if saliency is None else saliency

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """Connections the loss hardly notices come first.

        Squared weight times the mean squared gradient: the saliency of optimal brain damage (LeCun et al.
        1990) with the Fisher information in the place of the curvature.
        """
        saliency = evidence.saliency(weight)
        return np.square(evidence.magnitude(weight)) if saliency is None else saliency

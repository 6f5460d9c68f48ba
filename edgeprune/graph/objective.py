"""Objective: what a network in training is asked for: the original's answers, and the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True)
class Objective:
    """How much each of the two counts."""

    distilled: float = 0.7
    """Share of the loss that asks for the original's answers; the rest asks for the labels."""
    smoothing: float = 0.1
    """Of the labels only: the original's answers are soft already."""

    @property
    def judging(self) -> Objective:
        """The same of the labels as they are: what weights are compared by."""
        return replace(self, smoothing=0.0)

    def loss(self, found: Tensor, wanted: Tensor | None, labels: Tensor | None) -> Tensor:
        """Cross-entropy on labels and on the original's softened answers (Hinton et al. 2015).

        `found` and `wanted` have shape (images, classes), `labels` (images,). Without labels the answers are
        all there is; `wanted` may be missing where they do not count.
        """
        share = 1.0 if labels is None else self.distilled
        parts = []
        if labels is not None and share < 1:
            parts.append((1 - share) * F.cross_entropy(found, labels, label_smoothing=self.smoothing))
        if wanted is not None and share > 0:
            soft = F.kl_div(
                F.log_softmax(found / _TEMPERATURE, 1),
                F.log_softmax(wanted / _TEMPERATURE, 1),
                reduction="batchmean",
                log_target=True,
            )
            parts.append(share * _TEMPERATURE**2 * soft)
        return torch.stack(parts).sum()


def agreed(answers: Tensor) -> Tensor:
    """One answer for several of shape (times, images, classes): its softened probabilities are their mean."""
    return _TEMPERATURE * F.log_softmax(answers / _TEMPERATURE, 2).logsumexp(0)

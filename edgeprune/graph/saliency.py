"""Saliency: what a loss would change by, to first order, if a unit's output were zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Interpreter

from edgeprune.core.alike import are_scores
from edgeprune.core.group import Slice
from edgeprune.graph.capture import Program
from edgeprune.graph.unit_weights import unit_rows

IMAGES = 16
"""Per gradient: a backward pass keeps every activation, and ResNet-50 at 224 px has to fit in memory."""


Totals = tuple[dict[str, NDArray[np.float64]], int]
"""Sums per group, and of how many images they are."""


class Saliency:
    """Squared first-order terms per unit, summed over batches (Molchanov et al. 2019).

    The sum of weight times gradient over the weights that read a unit is the gradient of a gate on what
    they read, so it stands for the unit as its readers see it, after batch norm and activation.
    """

    def __init__(self, program: Program, slices: Mapping[str, Sequence[Slice]]) -> None:
        self._program = program
        self._slices = slices
        self._tensors = program.tensors()
        self._total: dict[str, NDArray[np.float64]] = {}
        self._images = 0

    def add(self, inputs: Tensor, labels: NDArray[np.int64] | None) -> None:
        """Add what one batch shows."""
        for start in range(0, len(inputs), IMAGES):
            part = slice(start, start + IMAGES)
            self._add_part(inputs[part], None if labels is None else torch.from_numpy(labels[part]))

    def mean(self, group: str) -> NDArray[np.float64] | None:
        """Mean squared first-order term of each unit, shape (units,); None when nothing was added."""
        total = self._total.get(group)
        return None if total is None else total / self._images

    def totals(self) -> Totals:
        """What was added, to be merged with what others have seen."""
        return self._total, self._images

    def replace(self, parts: Iterable[Totals]) -> None:
        """Hold what all parts have seen, in place of what was added here."""
        self._total, self._images = {}, 0
        for totals, images in parts:
            self._images += images
            for group, total in totals.items():
                self._total[group] = self._total.get(group, 0.0) + total

    def _add_part(self, inputs: Tensor, labels: Tensor | None) -> None:
        read = (piece.tensor for pieces in self._slices.values() for piece in pieces)
        terms = first_order(self._program, (self._tensors[name] for name in read), inputs, labels)
        self._images += len(inputs)
        for group, pieces in self._slices.items():
            change = sum(
                unit_rows(terms[id(self._tensors[piece.tensor])], piece).sum((1, 2)) for piece in pieces
            )
            self._total[group] = self._total.get(group, 0.0) + np.square(change) * len(inputs)


def first_order(
    program: Program, weights: Iterable[Tensor], inputs: Tensor, labels: Tensor | None
) -> dict[int, Tensor]:
    """Weight times gradient of the loss, by the weight's identity: tied names share one."""
    leaves = {key: one.detach().requires_grad_() for key, one in {id(one): one for one in weights}.items()}
    with torch.enable_grad():
        loss = _loss(_WithLeaves(program, leaves).run(inputs), labels)
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return {
        key: leaf.detach() * gradient for (key, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }


class _WithLeaves(Interpreter):
    """The program over stand-ins for some parameters, so that frozen ones have gradients too."""

    def __init__(self, program: Program, leaves: Mapping[int, Tensor]) -> None:
        super().__init__(program.module)
        self._leaves = leaves

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        tensor = super().get_attr(target, args, kwargs)
        return self._leaves.get(id(tensor), tensor)


def _loss(output: Tensor, labels: Tensor | None) -> Tensor:
    """Cross-entropy; without class labels the output's energy, half its squared norm.

    A divergence from the network's own answers has no gradient where it starts, so the energy stands in
    for it (memory-aware synapses, Aljundi et al. 2018).
    """
    if labels is not None and are_scores(tuple(output.shape)) and output.shape[1] > int(labels.max()):
        return F.cross_entropy(output, labels)
    return 0.5 * output.flatten(1).square().sum(1).mean()

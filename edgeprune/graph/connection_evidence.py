"""Connection evidence: what criteria may look at to rank connections, gathered in one pass over images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.moments import LARGEST, ClassMoments
from edgeprune.core.protocols import Need
from edgeprune.graph.capture import Program
from edgeprune.graph.connections import Layer
from edgeprune.graph.nodes import shape_of
from edgeprune.graph.replay import observe
from edgeprune.graph.saliency import IMAGES, first_order

Floats = NDArray[np.float64]


class ConnectionEvidence:
    """Arrays of the weights' shapes, by the weights' names; see `core.protocols.ConnectionEvidence`.

    A connection adds weight times activation to its output. The weight is a constant, so the F statistic
    of what it adds is that of the activation: all connections that read one channel share it. Of a
    convolution's input it is the mean over positions, one number for each image.
    """

    def __init__(
        self, program: Program, layers: Sequence[Layer], classes: int, seed: int, needs: frozenset[Need]
    ) -> None:
        self._program, self._classes, self._seed = program, classes, seed
        self._layers = {layer.weight: layer for layer in layers}
        self._tensors = program.tensors()
        wanted = layers if needs & {"moments", "activations"} else ()
        self._axes = {
            source: axis
            for layer in wanted
            for source, axis in layer.sources
            if None in shape_of(source)  # else it is the same for every image
        }
        self._wants_moments = "moments" in needs
        self._moments: dict[Node, ClassMoments] = {}
        self._squares: dict[Node, tuple[Floats, int]] = {}
        self._wants_gradients = "gradients" in needs
        self._terms: dict[int, Floats] = {}
        self._images = 0

    def add(self, inputs: Tensor, labels: NDArray[np.int64] | None) -> None:
        """Run one batch and add what it shows."""

        def visit(node: Node, value: Tensor) -> None:
            rows = _rows(node, value, self._axes[node], len(inputs))
            squares, count = self._squares.get(node, (np.zeros(rows.shape[2]), 0))
            self._squares[node] = squares + np.square(rows).sum((0, 1)), count + rows[..., 0].size
            if labels is not None and self._wants_moments:
                batch = ClassMoments.of(rows.mean(1), labels, self._classes)
                before = self._moments.get(node)
                self._moments[node] = batch if before is None else before.merge(batch)

        if self._axes:
            observe(self._program, inputs, self._axes, visit)
        if self._wants_gradients:
            self._add_gradients(inputs, labels)

    def magnitude(self, weight: str) -> Floats:
        """Absolute value of each connection's weight."""
        return np.asarray(np.abs(self._tensors[weight].detach().double().numpy()))

    def f_statistic(self, weight: str) -> Floats | None:
        """One-way ANOVA F across classes of what each connection adds; None without labels."""
        return self._of_inputs(weight, lambda moments: moments.f_statistic())

    def welch_statistic(self, weight: str) -> Floats | None:
        """Welch's F, which lets every class have its own variance; None without labels."""
        return self._of_inputs(weight, lambda moments: moments.welch()[0])

    def activation(self, weight: str) -> Floats | None:
        """Root mean square, over images and positions, of what each connection reads; None without data."""
        layer = self._layers[weight]
        if not all(source in self._squares for source, _ in layer.sources):
            return None
        means = [squares / count for squares, count in (self._squares[one] for one, _ in layer.sources)]
        return layer.spread(np.sqrt(np.mean(means, axis=0)))

    def saliency(self, weight: str) -> Floats | None:
        """Mean squared first-order change of the loss without each connection; None without data."""
        total = self._terms.get(id(self._tensors[weight]))
        return None if total is None else total / self._images

    def random(self, weight: str) -> Floats:
        """Uniform numbers that depend on the seed and the weight's name only."""
        generator = np.random.default_rng([self._seed, zlib.crc32(weight.encode())])
        return generator.random(self._layers[weight].shape)

    def _add_gradients(self, inputs: Tensor, labels: NDArray[np.int64] | None) -> None:
        weights = [self._tensors[name] for name in self._layers]
        for start in range(0, len(inputs), IMAGES):
            part = slice(start, start + IMAGES)
            known = None if labels is None else torch.from_numpy(labels[part])
            for key, term in first_order(self._program, weights, inputs[part], known).items():
                squares = np.square(term.double().numpy()) * len(inputs[part])
                self._terms[key] = self._terms.get(key, 0.0) + squares
        self._images += len(inputs)

    def _of_inputs(self, weight: str, statistic: Callable[[ClassMoments], Floats]) -> Floats | None:
        """The mean over all values that the weight reads."""
        layer = self._layers[weight]
        if not all(source in self._moments for source, _ in layer.sources):
            return None
        found = [
            np.nan_to_num(statistic(self._moments[source]), posinf=LARGEST) for source, _ in layer.sources
        ]
        return layer.spread(np.mean(found, axis=0))


def _rows(node: Node, value: Tensor, axis: int, images: int) -> Floats:
    """A value as (images, positions, channels); windows of one image lie side by side in the batch axis."""
    batch = shape_of(node).index(None)
    moved = value.detach().double().movedim((batch, axis), (0, -1))
    return np.asarray(moved.reshape(images, -1, moved.shape[-1]).numpy())

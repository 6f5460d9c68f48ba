"""Connection evidence: what criteria may look at to rank connections, gathered in one pass over images."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.moments import LARGEST, ClassMoments, comparable
from edgeprune.core.protocols import Need
from edgeprune.graph.capture import Program
from edgeprune.graph.connections import Layer, Source
from edgeprune.graph.finite import require_finite
from edgeprune.graph.image_rows import Order, means, orders
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
        self._program, self._classes, self._seed, self._needs = program, classes, seed, needs
        self._layers = {layer.weight: layer for layer in layers}
        self._tensors = program.tensors()
        wanted = layers if needs & {"moments", "activations"} else ()
        self._axes: dict[Node, set[int]] = {}
        for layer in wanted:
            for source, axis in layer.sources:
                if None in shape_of(source):  # else it is the same for every image
                    self._axes.setdefault(source, set()).add(axis)
        self._orders: dict[Node, Order] | None = None
        self._moments: dict[Source, ClassMoments] = {}
        self._squares: dict[Source, tuple[Floats, int]] = {}
        self._terms: dict[int, Floats] = {}
        self._images = 0

    def add(self, inputs: Tensor, labels: NDArray[np.int64] | None) -> None:
        """Run one batch and add what it shows.

        Raises
        ------
        ModelError
            A layer that is looked at, or the network, answers with NaN or infinity.
        """
        rows = self._row_orders(inputs) if labels is not None and "moments" in self._needs else {}

        def visit(node: Node, value: Tensor) -> None:
            require_finite(node, value)
            for axis in self._axes.get(node, ()):
                if "activations" in self._needs:
                    self._add_squares(node, value, axis)
                if labels is not None and node in rows:
                    per_image = means(node, value, axis, len(inputs), rows[node])
                    self._add_moments(node, axis, ClassMoments.of(per_image, labels, self._classes))

        if self._axes:
            observe(self._program, inputs, {*self._axes, self._program.answer}, visit)
        if "gradients" in self._needs:
            self._add_gradients(inputs, labels)

    def magnitude(self, weight: str) -> Floats:
        """Absolute value of each connection's weight."""
        return np.asarray(np.abs(self._tensors[weight].detach().double().numpy()))

    def f_statistic(self, weight: str) -> Floats | None:
        """One-way ANOVA F across classes of what each connection adds; None where it is not defined."""
        return self._of_inputs(weight, lambda moments: moments.f_statistic())

    def welch_statistic(self, weight: str) -> Floats | None:
        """Welch's F, which lets every class have its own variance; None as for F."""
        return self._of_inputs(weight, lambda moments: moments.welch()[0], replicated=2)

    def activation(self, weight: str) -> Floats | None:
        """Root mean square, over images and positions, of what each connection reads; None without data."""
        layer = self._layers[weight]
        if not all(source in self._squares for source in layer.sources):
            return None
        mean_squares = [squares / count for squares, count in map(self._squares.__getitem__, layer.sources)]
        return layer.spread(np.sqrt(np.mean(mean_squares, axis=0)))

    def saliency(self, weight: str) -> Floats | None:
        """Mean squared first-order change of the loss without each connection; None without data."""
        total = self._terms.get(id(self._tensors[weight]))
        return None if total is None else total / self._images

    def random(self, weight: str) -> Floats:
        """Uniform numbers that depend on the seed and the weight's name only."""
        generator = np.random.default_rng([self._seed, zlib.crc32(weight.encode())])
        return generator.random(self._layers[weight].shape)

    def _row_orders(self, inputs: Tensor) -> dict[Node, Order]:
        """Whose the rows of what is read are; asked once."""
        if self._orders is None:
            self._orders = orders(self._program, inputs[:1], self._axes)
        return self._orders

    def _add_squares(self, node: Node, value: Tensor, axis: int) -> None:
        # Summed as they are, since a copy in double precision would be twice as large as the value.
        others = [other for other in range(value.ndim) if other != axis]
        batch = value.square().sum(others).double().numpy()
        squares, count = self._squares.get((node, axis), (0.0, 0))
        self._squares[node, axis] = squares + batch, count + value.numel() // len(batch)

    def _add_moments(self, node: Node, axis: int, batch: ClassMoments) -> None:
        before = self._moments.get((node, axis))
        self._moments[node, axis] = batch if before is None else before.merge(batch)

    def _add_gradients(self, inputs: Tensor, labels: NDArray[np.int64] | None) -> None:
        weights = [self._tensors[name] for name in self._layers]
        for start in range(0, len(inputs), IMAGES):
            part = slice(start, start + IMAGES)
            known = None if labels is None else torch.from_numpy(labels[part])
            for key, term in first_order(self._program, weights, inputs[part], known).items():
                squares = np.square(term.double().numpy()) * len(inputs[part])
                self._terms[key] = self._terms.get(key, 0.0) + squares
        self._images += len(inputs)

    def _of_inputs(
        self, weight: str, statistic: Callable[[ClassMoments], Floats], replicated: int = 1
    ) -> Floats | None:
        """The mean over all values that the weight reads; None where one of them has no such statistic."""
        layer = self._layers[weight]
        moments = [self._moments.get(source) for source in layer.sources]
        known = [one for one in moments if one is not None and comparable(one.count, replicated)]
        if len(known) < len(moments):
            return None
        return layer.spread(np.mean([np.nan_to_num(statistic(one), posinf=LARGEST) for one in known], axis=0))

"""Activity: how large the channels are that weights read, streamed over batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.flow import Consumption

Totals = dict[tuple[str, int], tuple[Tensor, int]]
"""By weight and axis: sums of squares per channel, and how many values are in them."""


class Activity:
    """Mean squares per channel of the values that some weights read."""

    def __init__(self, consumptions: Iterable[Consumption]) -> None:
        self._readings: dict[Node, list[Consumption]] = {}
        for one in consumptions:
            self._readings.setdefault(one.source, []).append(one)
        self._squares: dict[tuple[str, int], Tensor] = {}
        self._counts: dict[tuple[str, int], int] = {}

    @property
    def sources(self) -> frozenset[Node]:
        """The values to be shown."""
        return frozenset(self._readings)

    def add(self, node: Node, value: Tensor) -> None:
        """Add one batch of a value, where weights read it."""
        for one in self._readings.get(node, []):
            key = one.tensor, one.axis
            channels = value.movedim(one.input_axis, -1).reshape(-1, value.shape[one.input_axis])
            squares = channels.double().square().sum(0)
            self._squares[key] = self._squares.get(key, torch.zeros_like(squares)) + squares
            self._counts[key] = self._counts.get(key, 0) + len(channels)

    def totals(self) -> Totals:
        """What was added, to be merged with what others have seen."""
        return {key: (squares, self._counts[key]) for key, squares in self._squares.items()}

    def replace(self, parts: Iterable[Totals]) -> None:
        """Hold what all parts have seen, in place of what was added here."""
        self._squares, self._counts = {}, {}
        for part in parts:
            for key, (squares, count) in part.items():
                self._squares[key] = self._squares.get(key, torch.zeros_like(squares)) + squares
                self._counts[key] = self._counts.get(key, 0) + count

    def norms(self, tensor: str, axis: int, weight: Tensor) -> Tensor | None:
        """For every entry of a weight the root mean square, over images and positions, of what it reads.

        Shape of `weight`; None when nothing was added for it.
        """
        if (tensor, axis) not in self._squares:
            return None
        read = (self._squares[tensor, axis] / self._counts[tensor, axis]).sqrt()
        groups, remainder = divmod(len(read), weight.shape[axis])
        assert remainder == 0, "a grouped convolution has as many input channels in every group"
        if groups == 1:
            shape = [-1 if place == axis else 1 for place in range(weight.ndim)]
            return read.reshape(shape).expand(weight.shape)
        # The first axis of a grouped convolution's weight runs through the groups, one after the other.
        per_output = read.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, dim=0)
        return per_output.reshape(*per_output.shape, *[1] * (weight.ndim - 2)).expand(weight.shape)

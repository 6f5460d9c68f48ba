"""Reference: what the original answers where layers are to be refitted, at some sites of every image.

Only the sampled rows are kept, so that memory does not grow with the layers that are still to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import Consumer
from edgeprune.graph.finite import require_finite
from edgeprune.graph.gram import sample
from edgeprune.graph.replay import Replay

_ROWS = 6_400
"""Rows per layer and batch."""
_ROW_MEMORY = 8e8
"""Bytes that the sampled input columns of one layer may take."""
_BETWEEN_LAYERS = 1_000_003
"""Between the seeds of two layers: a prime above any number of batches."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer to be refitted: its nodes in the original, its rows and columns as they are after the cut.

    `kept` are the output channels that are left (None when all are), `width` how many numbers a row has.
    """

    one: Consumer
    kept: Tensor | None
    width: int


@dataclass(slots=True, eq=False)
class Seen:
    """One batch of a layer: the sites looked at (None for all), and what the original has there."""

    chosen: Tensor | None
    values: dict[Node, Tensor] = field(default_factory=dict)
    """Sampled rows of the layer's receiver and of its partner."""


class Reference:
    """The original, executed over all batches as far as it was asked for."""

    def __init__(self, program: Program, layers: Sequence[Layer], batches: list[Tensor], seed: int) -> None:
        self._layers = layers
        self._seed = seed
        self._batches = len(batches)
        self._seen: dict[tuple[int, int], Seen] = {}
        self._wanted: dict[Node, list[int]] = {}
        for number, layer in enumerate(layers):
            for node in (layer.one.receiver, layer.one.partner):
                if node is not None:
                    self._wanted.setdefault(node, []).append(number)
        self._replay = Replay(program, batches, watch=self._watch)

    def seen(self, number: int) -> list[Seen]:
        """A layer's samples, batch by batch; they are handed over, and forgotten here."""
        self._replay.run_to(self._layers[number].one.receiver)
        return [self._seen.pop((number, batch)) for batch in range(self._batches)]

    def held_bytes(self) -> int:
        """Memory of the values that are read later."""
        return self._replay.held_bytes()

    def _watch(self, batch: int, node: Node, value: Any) -> None:
        numbers = self._wanted.get(node, [])
        if numbers:
            require_finite(node, value)
        for number in numbers:
            layer = self._layers[number]
            seen = self._seen.setdefault((number, batch), Seen(self._chosen(number, batch, value)))
            left = value
            if layer.kept is not None:
                left = value.index_select(layer.one.map.channel_axis, layer.kept)
            seen.values[node] = layer.one.map.outputs(left, seen.chosen)

    def _chosen(self, number: int, batch: int, value: Tensor) -> Tensor | None:
        """The sites to look at in one batch; the same whoever asks first."""
        view = self._layers[number].one.map
        affordable = int(_ROW_MEMORY / (4 * self._layers[number].width * self._batches))
        random = torch.Generator().manual_seed(self._seed + _BETWEEN_LAYERS * number + batch)
        return sample(view.sites(view.size_of(value)), len(value), min(_ROWS, affordable), random)

"""Walk: both networks side by side, from layer to layer, each refitted on what it reads by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.core.plan import Plan
from edgeprune.core.samples import Split
from edgeprune.graph.blocks import Block
from edgeprune.graph.capture import Program
from edgeprune.graph.constants import recalibrated
from edgeprune.graph.consumers import Consumer, constants, consumers
from edgeprune.graph.couple import Coupling
from edgeprune.graph.finite import require_finite
from edgeprune.graph.flow import Narrowed
from edgeprune.graph.linear_map import channel_by_channel, linear_map
from edgeprune.graph.reconstruct import (
    PASSES,
    Segment,
    reconstructed,
    renormed,
    segment_of,
    source_values,
)
from edgeprune.graph.reference import Layer, Reference
from edgeprune.graph.replay import Replay
from edgeprune.graph.ridge import Sample, refitted
from edgeprune.graph.weights import write

_MEMORY = 1.7e9
"""Bytes that the values of both networks may take from one layer to the next."""


def affordable(walk: Callable[[list[Tensor]], Walk], calibration: Split) -> int:
    """As many images as fit in memory, by what one of them takes."""
    trial = walk([torch.from_numpy(next(calibration.batches(1))[0])])
    held = 1
    for number in range(len(trial.layers)):
        trial.samples(number)
        held = max(held, trial.held_bytes())
        trial.leave(number)
    return int(np.clip(_MEMORY / held, 1, len(calibration)))


def affected(coupling: Coupling, plan: Plan) -> list[Consumer]:
    """Layers that lost input channels, and all that come after the first of them: their inputs drift.

    Refitting those too was worth 2.2 points on ResNet-20 and 0.4 on ResNet-56 at half the MACs
    (docs/decisions/0002-plan-and-refit.md).
    """
    cut = {cut.group for cut in plan.cuts}
    read = {
        piece.tensor for group in coupling.groups if group.id in cut for piece in group.of_role("consumer")
    }
    position = {node: index for index, node in enumerate(coupling.program.graph.nodes)}
    narrowed = coupling.narrowed(plan.cuts)
    layers = consumers(coupling)
    changed = [one.node for one in coupling.consumptions if one.tensor in read]
    changed += [block.total for block in _removed(coupling, narrowed)]
    first = min((position[node] for node in changed), default=len(position))
    return [
        one
        for one in (*layers, *constants(coupling, layers))
        if position[one.node] >= first and coupling.runs(one.node, narrowed)
    ]


def _removed(coupling: Coupling, narrowed: Narrowed) -> list[Block]:
    """The residual branches that went."""
    return [block for label, block in coupling.blocks.items() if not narrowed.kept[label]]


def _twins(coupling: Coupling, shrunk: Program, narrowed: Narrowed) -> dict[str, Node]:
    """For nodes of the original those of the shrunk program; the sum with a branch that went is its skip."""
    twins = {node.name: node for node in shrunk.graph.nodes}
    for block in _removed(coupling, narrowed):  # in graph order: a skip may be a removed sum itself
        twins[block.total.name] = twins[block.skip.name]
    return twins


def layers_of(coupling: Coupling, shrunk: Program, plan: Plan, readers: Sequence[Consumer]) -> list[Layer]:
    """The layers in graph order, seen as matrices in their present shapes."""
    narrowed = coupling.narrowed(plan.cuts)
    nodes = {node.name: node for node in shrunk.graph.nodes}
    position = {node: index for index, node in enumerate(coupling.program.graph.nodes)}
    tensors = shrunk.tensors()
    found = []
    for one in sorted(readers, key=lambda one: position[one.node]):
        node, weight = nodes[one.node.name], tensors[one.weight]
        view = channel_by_channel(node, len(weight)) if one.constant else linear_map(node, weight)
        assert view is not None, "a cut changes sizes, not what kind of layer it is"
        width = len(weight) if one.constant else view.columns(weight)[:, :, 0].numel()
        found.append(Layer(replace(one, map=view), _kept_outputs(one, narrowed), width))
    return found


def _kept_outputs(one: Consumer, narrowed: Narrowed) -> Tensor | None:
    """The layer's output channels that stay; None when all do."""
    labels = narrowed.axes[one.node.name][one.map.channel_axis]
    if labels is None:
        return None
    assert isinstance(labels, np.ndarray)
    stays = narrowed.kept[labels]
    return None if stays.all() else torch.from_numpy(np.flatnonzero(stays))


class Walk:
    """Both networks side by side, from layer to layer."""

    def __init__(
        self,
        coupling: Coupling,
        shrunk: Program,
        plan: Plan,
        layers: Sequence[Layer],
        seed: int,
        batches: list[Tensor],
    ) -> None:
        self.layers = layers
        self._original, self._shrunk, self._seed = coupling.program, shrunk, seed
        self._twins = _twins(coupling, shrunk, coupling.narrowed(plan.cuts))
        self._position = {node: index for index, node in enumerate(coupling.program.graph.nodes)}
        self._reference = Reference(coupling.program, layers, batches, seed)
        self._segments = self._found_segments()
        pins = [self._twins[layer.one.source.name] for layer in layers]
        pins += [segment.entry for segment in self._segments.values()]
        self._present = Replay(shrunk, batches, pins)

    def samples(self, number: int) -> list[Sample]:
        """What a layer reads now, what its receiver should be, and what else is added there."""
        one = self.layers[number].one
        source, partner = self._twins[one.source.name], self._present_partner(one)
        for node in (source, partner):
            if node is not None:
                self._present.run_to(node)
        found = []
        for batch, seen in enumerate(self._reference.seen(number)):
            value = self._present.value(source)[batch]
            require_finite(one.source, value)
            rows = one.map.rows(value, seen.chosen)
            beside: Tensor | float = 0.0
            if partner is not None:
                beside = one.map.outputs(self._present.value(partner)[batch], seen.chosen)
            elif one.partner is not None:
                beside = seen.values[one.partner]
            found.append(Sample(rows, seen.values[one.receiver], beside, seen.chosen))
        return found

    def fit(self, number: int) -> None:
        """Give a layer of the shrunk network new weights, or constants where it may have no more."""
        one, tensors = self.layers[number].one, self._shrunk.tensors()
        samples = self.samples(number)
        before = tensors[one.weight].detach().clone()
        write(self._shrunk, (recalibrated if one.constant else refitted)(one, samples, tensors))
        if one.source is one.node:  # the value at hand has the old bias in it
            axis, change = one.map.channel_axis, tensors[one.weight].detach() - before
            self._present.change(
                self._twins[one.source.name],
                lambda value: (value.movedim(axis, -1) + change).movedim(-1, axis),
            )
        if number in self._segments and PASSES:
            self._reconstruct(number, self._segments[number], samples)

    def _reconstruct(self, number: int, segment: Segment, samples: Sequence[Sample]) -> None:
        """Move a layer and what makes its input together; then its refit again, on what it reads now."""
        one, entries = self.layers[number].one, self._present.value(segment.entry)
        values = reconstructed(
            self._shrunk, segment, one, entries, samples, passes=PASSES, seed=self._seed + number
        )
        if values is None:
            return
        write(self._shrunk, values)
        write(self._shrunk, renormed(self._shrunk, segment, entries))
        sources = source_values(self._shrunk, segment, entries)
        self._present.put(segment.source, sources)
        again = [
            replace(sample, rows=one.map.rows(value, sample.sites))
            for sample, value in zip(samples, sources, strict=True)
        ]
        write(self._shrunk, refitted(one, again, self._shrunk.tensors()))

    def leave(self, number: int) -> None:
        """A layer is done with: what it reads is not held on its behalf any longer."""
        self._present.release(self._twins[self.layers[number].one.source.name])
        if number in self._segments:
            self._present.release(self._segments[number].entry)

    def held_bytes(self) -> int:
        """Memory of the values that are read later, by either network."""
        return self._reference.held_bytes() + self._present.held_bytes()

    def _found_segments(self) -> dict[int, Segment]:
        """For layers that lost input channels: they, and the layers that make those which are left."""
        before, after = self._original.tensors(), self._shrunk.tensors()
        found = {}
        for number, layer in enumerate(self.layers):
            one = layer.one
            if one.constant or before[one.weight].shape[1:] == after[one.weight].shape[1:]:
                continue
            norm = None if one.norm is None else self._twins[one.norm.name]
            segment = segment_of(self._twins[one.node.name], norm)
            if segment is not None:
                found[number] = segment
        return found

    def _present_partner(self, one: Consumer) -> Node | None:
        """What is added to the layer, if it is computed before it: a later branch corrects its own share."""
        if one.partner is None or self._position[one.partner] > self._position[one.node]:
            return None
        return self._twins[one.partner.name]

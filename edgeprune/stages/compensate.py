"""Compensate: refit every layer behind a cut so that it answers like the original.

Ridge regression of the original's values on the shrunk network's inputs, layer by layer in graph
order: what earlier layers got wrong is in the inputs, and what the residual stream got wrong is
taken into the next target (graph/ridge.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.core.errors import DataError
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.report import Compensation
from edgeprune.core.samples import Split
from edgeprune.graph.answer import answers
from edgeprune.graph.blocks import Block
from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import Consumer, consumers
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.finite import require_finite
from edgeprune.graph.flow import Narrowed
from edgeprune.graph.linear_map import linear_map
from edgeprune.graph.reference import Layer, Reference
from edgeprune.graph.replay import Replay
from edgeprune.graph.ridge import Sample, refitted

_BATCH = 100
_MEMORY = 1.5e9
"""Bytes that the values of both networks may take from one layer to the next."""
_TRANSIENT = 3e8
"""Bytes that the values of one batch may take within a network."""


def compensate(
    coupling: Coupling,
    shrunk: Program,
    plan: Plan,
    calibration: Split,
    selection: Split,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Program, Compensation]:
    """A refitted program, or the shrunk one where the refit does not help on the selection images.

    `shrunk` must come from surgery on the coupling's program (its node names are relied upon); it is
    changed in place only if the refit is kept.
    """
    _require_images(calibration, selection)
    progress = progress or Silent()
    original = coupling.program
    readers = _affected(coupling, plan)
    progress.start("compensate", len(readers))
    batch = _batch(coupling)
    before = _divergence(original, shrunk, selection, batch)
    saved = {name: tensor.detach().clone() for name, tensor in shrunk.tensors().items()}
    layers = _layers(coupling, shrunk, plan, readers)
    twins = _twins(coupling, shrunk, coupling.narrowed(plan.cuts))

    def walk(batches: list[Tensor]) -> _Walk:
        return _Walk(coupling, shrunk, layers, twins, batches, seed)

    images = calibration.take(_affordable(walk, len(layers), calibration))
    both = walk([torch.from_numpy(inputs) for inputs, _ in images.batches(batch)])
    for number, layer in enumerate(layers):
        _put(shrunk, refitted(layer.one, both.samples(number), shrunk.tensors()))
        both.leave(number)
        progress.advance()
    after = _divergence(original, shrunk, selection, batch)
    kept = after < before
    if not kept:
        _put(shrunk, saved)
    progress.finish()
    return shrunk, Compensation(
        images=len(images),
        refitted=len(readers) if kept else 0,
        divergence_before=before,
        divergence_after=after,
        kept=kept,
    )


def _require_images(calibration: Split, selection: Split) -> None:
    for name, split in (("calibration", calibration), ("selection", selection)):
        if not len(split):
            raise DataError(
                f"{split.samples.name}: no {name} images are left to refit the network with",
                hint="bring more images, or ask for fewer test images",
            )


def _batch(coupling: Coupling) -> int:
    """Images per batch, so that what is computed between two layers fits in memory."""
    per_image = count(coupling).peak_activation_bytes
    return int(np.clip(_TRANSIENT / per_image, 1, _BATCH))


def _affected(coupling: Coupling, plan: Plan) -> list[Consumer]:
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
    changed = [one.node for one in layers if one.weight in read]
    changed += [block.total for block in _removed(coupling, narrowed)]
    first = min((position[node] for node in changed), default=len(position))
    return [one for one in layers if position[one.node] >= first and coupling.runs(one.node, narrowed)]


def _removed(coupling: Coupling, narrowed: Narrowed) -> list[Block]:
    """The residual branches that went."""
    return [block for label, block in coupling.blocks.items() if not narrowed.kept[label]]


def _twins(coupling: Coupling, shrunk: Program, narrowed: Narrowed) -> dict[str, Node]:
    """For nodes of the original those of the shrunk program; the sum with a branch that went is its skip."""
    twins = {node.name: node for node in shrunk.graph.nodes}
    for block in _removed(coupling, narrowed):  # in graph order: a skip may be a removed sum itself
        twins[block.total.name] = twins[block.skip.name]
    return twins


def _layers(coupling: Coupling, shrunk: Program, plan: Plan, readers: Sequence[Consumer]) -> list[Layer]:
    """The layers in graph order, seen as matrices in their present shapes."""
    narrowed = coupling.narrowed(plan.cuts)
    nodes = {node.name: node for node in shrunk.graph.nodes}
    position = {node: index for index, node in enumerate(coupling.program.graph.nodes)}
    tensors = shrunk.tensors()
    found = []
    for one in sorted(readers, key=lambda one: position[one.node]):
        view = linear_map(nodes[one.node.name], tensors[one.weight])
        assert view is not None, "a cut changes sizes, not what kind of layer it is"
        blocks, columns, _ = view.columns(tensors[one.weight]).shape
        found.append(Layer(replace(one, map=view), _kept_outputs(one, narrowed), blocks * columns))
    return found


def _kept_outputs(one: Consumer, narrowed: Narrowed) -> Tensor | None:
    """The layer's output channels that stay; None when all do."""
    labels = narrowed.axes[one.node.name][one.map.channel_axis]
    if labels is None:
        return None
    assert isinstance(labels, np.ndarray)
    stays = narrowed.kept[labels]
    return None if stays.all() else torch.from_numpy(np.flatnonzero(stays))


class _Walk:
    """Both networks side by side, from layer to layer."""

    def __init__(
        self,
        coupling: Coupling,
        shrunk: Program,
        layers: Sequence[Layer],
        twins: dict[str, Node],
        batches: list[Tensor],
        seed: int,
    ) -> None:
        self._twins, self._layers = twins, layers
        self._position = {node: index for index, node in enumerate(coupling.program.graph.nodes)}
        self._reference = Reference(coupling.program, layers, batches, seed)
        self._present = Replay(shrunk, batches, [twins[layer.one.source.name] for layer in layers])

    def samples(self, number: int) -> list[Sample]:
        """What a layer reads now, what its receiver should be, and what else is added there."""
        one = self._layers[number].one
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
            found.append(Sample(rows, seen.values[one.receiver], beside))
        return found

    def leave(self, number: int) -> None:
        """A layer is done with: what it reads is not held on its behalf any longer."""
        self._present.release(self._twins[self._layers[number].one.source.name])

    def held_bytes(self) -> int:
        """Memory of the values that are read later, by either network."""
        return self._reference.held_bytes() + self._present.held_bytes()

    def _present_partner(self, one: Consumer) -> Node | None:
        """What is added to the layer, if it is computed before it: a later branch corrects its own share."""
        if one.partner is None or self._position[one.partner] > self._position[one.node]:
            return None
        return self._twins[one.partner.name]


def _affordable(walk: Callable[[list[Tensor]], _Walk], layers: int, calibration: Split) -> int:
    """As many images as fit in memory, by what one of them takes."""
    trial = walk([torch.from_numpy(next(calibration.batches(1))[0])])
    held = 1
    for number in range(layers):
        trial.samples(number)
        held = max(held, trial.held_bytes())
        trial.leave(number)
    return int(np.clip(_MEMORY / held, 1, len(calibration)))


def _divergence(original: Program, shrunk: Program, split: Split, batch: int) -> float:
    """Squared output difference over the original's squared outputs about their mean."""
    difference = spread = 0.0
    batches = [inputs for inputs, _ in split.batches(batch)]
    for expected, present in zip(answers(original, batches), answers(shrunk, batches), strict=True):
        difference += float(np.square(present - expected).sum())
        spread += float(np.square(expected - expected.mean(0)).sum())
    return difference / (spread or 1.0)


def _put(program: Program, values: Mapping[str, Tensor]) -> None:
    tensors = program.tensors()
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)

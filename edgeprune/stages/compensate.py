"""Compensate: refit every layer behind a cut so that it answers like the original.

Ridge regression of the original's values on the shrunk network's inputs, layer by layer in graph
order: what earlier layers got wrong is in the inputs, and what the residual stream got wrong is
taken into the next target. What a ReLU cuts off need not be matched, only kept below zero (after
Zhang et al. 2016, arXiv 1505.06798).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.report import Compensation
from edgeprune.core.samples import Split
from edgeprune.graph.answer import answers
from edgeprune.graph.blocks import Block
from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import (
    Consumer,
    consumers,
    norm_epsilon,
    norm_tensors,
    output_scale,
    outputs,
    patches,
    positions,
)
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.eliminate import RIDGE
from edgeprune.graph.flow import Narrowed
from edgeprune.graph.gram import Gram, ridged, sample
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.replay import Replay

_BATCH = 100
_ROWS = 6_400
_MEMORY = 1.2e9
"""Bytes that the values of both networks may take while they are compared."""
_ROW_MEMORY = 8e8
"""Bytes that the sampled input columns of one layer may take."""
_RECTIFIED = 2
"""Repetitions of the fit in which values on the flat side of an activation are only asked to stay there."""
_DEAD = 1e-6
"""Batch-norm gains below this share of the largest are left alone: dividing by them is noise."""


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
    progress = progress or Silent()
    original = coupling.program
    readers = _affected(coupling, plan)
    images = calibration.take(_affordable(coupling, len(calibration)))
    progress.start("compensate", len(readers))
    before = _divergence(original, shrunk, selection)
    saved = {name: tensor.detach().clone() for name, tensor in shrunk.tensors().items()}
    batches = [torch.from_numpy(inputs) for inputs, _ in images.batches(_BATCH)]
    _refit_all(coupling, plan, shrunk, readers, batches, seed, progress)
    after = _divergence(original, shrunk, selection)
    kept = after < before
    if not kept:
        _restore(shrunk, saved)
    progress.finish()
    return shrunk, Compensation(
        images=len(images),
        refitted=len(readers) if kept else 0,
        divergence_before=before,
        divergence_after=after,
        kept=kept,
    )


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


def _kept_outputs(narrowed: Narrowed, readers: Sequence[Consumer]) -> dict[Node, Tensor | None]:
    """For each layer the output channels that stay; None when all do."""
    kept: dict[Node, Tensor | None] = {}
    for one in readers:
        axes = narrowed.axes[one.node.name]
        labels = axes[_channel_axis(one)]
        assert isinstance(labels, np.ndarray)
        stays = narrowed.kept[labels]
        kept[one.node] = None if stays.all() else torch.from_numpy(np.flatnonzero(stays))
    return kept


def _channel_axis(one: Consumer) -> int:
    return -1 if operator_name(one.node) == "aten.linear.default" else 1


def _affordable(coupling: Coupling, images: int) -> int:
    """As many images as fit in memory with both networks' values alive."""
    per_image = 2.5 * count(coupling).peak_activation_bytes
    return max(1, min(images, int(_MEMORY / per_image)))


def _refit_all(
    coupling: Coupling,
    plan: Plan,
    shrunk: Program,
    readers: Sequence[Consumer],
    batches: list[Tensor],
    seed: int,
    progress: Progress,
) -> None:
    original, narrowed = coupling.program, coupling.narrowed(plan.cuts)
    kept = _kept_outputs(narrowed, readers)
    twins = _twins(coupling, shrunk, narrowed)
    position = {node: index for index, node in enumerate(original.graph.nodes)}
    ordered = sorted(readers, key=lambda one: position[one.node])
    pins = [node for one in ordered for node in (one.receiver, one.partner) if node is not None]
    reference = Replay(original, batches, pins)
    present = Replay(shrunk, batches, [twins[one.source.name] for one in ordered])
    for number, one in enumerate(ordered):
        present.run_to(twins[one.source.name])
        reference.run_to(one.receiver)
        layer = _layer(one, reference, present, twins, position, kept[one.node])
        _refit(layer, shrunk, seed + number)
        present.release(twins[one.source.name])
        reference.release(one.receiver)
        if one.partner is not None:
            reference.release(one.partner)
        progress.advance()


def _layer(
    one: Consumer,
    reference: Replay,
    present: Replay,
    twins: dict[str, Node],
    position: dict[Node, int],
    kept: Tensor | None,
) -> _Layer:
    """What the layer reads now, what its receiver should answer, and what else is added there."""

    def original(node: Node) -> list[Tensor]:
        values = reference.value(node)
        return values if kept is None else [value.index_select(_channel_axis(one), kept) for value in values]

    sources, wanted = present.value(twins[one.source.name]), original(one.receiver)
    if one.total is None or one.partner is None:
        return _Layer(one, sources, wanted, None)
    partner = twins[one.partner.name]
    if position[one.partner] < position[one.node]:
        present.run_to(partner)
    # A branch that is computed later corrects its own share when its turn comes.
    beside = present.value(partner) if present.has(partner) else original(one.partner)
    return _Layer(one, sources, wanted, beside)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One layer to be refitted: values per batch of what it reads, what should come out, what is added."""

    consumer: Consumer
    sources: list[Tensor]
    wanted: list[Tensor]
    beside: list[Tensor] | None

    def rows(self, columns: int, seed: int) -> list[tuple[Tensor, Tensor, Tensor | float]]:
        """Input columns, wanted values and added values of the same sampled positions, batch by batch."""
        node, random = self.consumer.node, torch.Generator().manual_seed(seed)
        affordable = int(_ROW_MEMORY / (4 * columns * len(self.sources)))
        found: list[tuple[Tensor, Tensor, Tensor | float]] = []
        for index, source in enumerate(self.sources):
            chosen = sample(positions(node, source), len(source), min(_ROWS, affordable), random)
            beside = 0.0 if self.beside is None else outputs(node, self.beside[index], chosen)
            found.append((patches(node, source, chosen), outputs(node, self.wanted[index], chosen), beside))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Weights (columns, out) and intercept (out,) that stand for a layer and its batch norm."""

    columns: Tensor
    intercept: Tensor


def _refit(layer: _Layer, shrunk: Program, seed: int) -> None:
    one, tensors = layer.consumer, shrunk.tensors()
    weight = tensors[one.weight].detach()
    scale = output_scale(one, tensors)
    present = weight.double().flatten(1).T * scale
    samples = layer.rows(len(present), seed)
    inputs = Gram()
    for rows, _, _ in samples:
        inputs.add(rows)
    factor = torch.linalg.cholesky(ridged(inputs.covariance(centred=one.has_intercept), RIDGE))
    fit = _solved(one, samples, inputs, factor, present, None)
    if one.linear_range != (-math.inf, math.inf):
        for _ in range(_RECTIFIED):
            fit = _solved(one, samples, inputs, factor, present, fit)
    alive = scale.abs() > _DEAD * scale.abs().max()
    columns = torch.where(alive, fit.columns / torch.where(alive, scale, 1.0), weight.double().flatten(1).T)
    with torch.no_grad():
        tensors[one.weight].copy_(columns.T.reshape(weight.shape))
        target = fit.intercept + inputs.mean @ fit.columns
        _set_intercept(one, tensors, inputs, target, columns, scale, alive)


def _solved(
    one: Consumer,
    samples: Sequence[tuple[Tensor, Tensor, Tensor | float]],
    inputs: Gram,
    factor: Tensor,
    present: Tensor,
    last: _Fit | None,
) -> _Fit:
    """Least squares towards the wanted values, ridge towards the weights as they are.

    What the images do not determine stays. With a `last` fit, values outside the linear range of what
    reads them are only asked to stay there: for squared errors behind the activation this is a
    majorisation, so that the error falls with every repetition.
    """
    centre = inputs.mean.float() if one.has_intercept else torch.zeros(len(present))
    before = present.float()
    cross = torch.zeros_like(present)
    total = torch.zeros(present.shape[1], dtype=torch.float64)
    for rows, wanted, beside in samples:
        if last is not None:
            answer = rows @ last.columns.float() + last.intercept.float() + beside
            wanted = _within(one.linear_range, wanted, answer)
        target = wanted - beside
        cross += ((rows - centre).T @ (target - rows @ before)).double()
        total += target.sum(0).double()
    columns = present + torch.cholesky_solve(cross / inputs.count, factor)
    intercept = total / inputs.count - inputs.mean @ columns
    return _Fit(columns, intercept if one.has_intercept else torch.zeros_like(total))


def _within(linear: tuple[float, float], wanted: Tensor, answer: Tensor) -> Tensor:
    """Wanted values, relaxed to the present answer where both lie on the same flat side."""
    low, high = linear
    wanted = torch.where(wanted <= low, answer.clamp_max(low), wanted)
    return torch.where(wanted >= high, answer.clamp_min(high), wanted)


def _set_intercept(
    one: Consumer,
    tensors: dict[str, Tensor],
    inputs: Gram,
    target: Tensor,
    columns: Tensor,
    scale: Tensor,
    alive: Tensor,
) -> None:
    """Put the mean of the target where the layer keeps constants, batch statistics brought up to date."""
    mean_output = inputs.mean @ columns
    names = norm_tensors(one.norm) if one.norm is not None else None
    if one.norm is not None and names is not None:
        gain, shift, mean, variance = names
        if gain is None or shift is None:
            # A norm without weights: only its mean can hold the constant.
            tensors[mean].copy_(mean_output - target / scale)
            return
        spread = torch.einsum("io,ij,jo->o", columns, inputs.covariance(centred=True), columns)
        deviation = (spread.clamp_min(0) + norm_epsilon(one.norm)).sqrt()
        for name, value in (
            (gain, scale * deviation),
            (shift, target),
            (mean, mean_output),
            (variance, spread.clamp_min(0)),
        ):
            tensors[name].copy_(torch.where(alive, value, tensors[name].double()))
    elif one.bias is not None:
        tensors[one.bias].copy_(target - mean_output)


def _divergence(original: Program, shrunk: Program, split: Split) -> float:
    """Squared output difference over the original's squared outputs about their mean."""
    difference = spread = 0.0
    batches = [inputs for inputs, _ in split.batches(_BATCH)]
    for expected, present in zip(answers(original, batches), answers(shrunk, batches), strict=True):
        difference += float(np.square(present - expected).sum())
        spread += float(np.square(expected - expected.mean(0)).sum())
    return difference / (spread or 1.0)


def _restore(program: Program, saved: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in program.tensors().items():
            tensor.copy_(saved[name])

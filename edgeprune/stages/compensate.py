"""Compensate: refit every layer behind a cut so that it answers like the original.

Ridge regression of the original's values on the shrunk network's inputs, layer by layer in graph
order: what earlier layers got wrong is in the inputs, and what the residual stream got wrong is
taken into the next target.
"""

from __future__ import annotations

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
from edgeprune.graph.gram import Gram, ridged, sample
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.replay import Replay

_BATCH = 100
_ROWS = 6_400
_MEMORY = 1.2e9
"""Bytes that the values of both networks may take while they are compared."""
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
    _refit_all(original, shrunk, readers, _kept_outputs(coupling, plan, readers), batches, seed, progress)
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
    layers = consumers(coupling)
    first = min((position[one.node] for one in layers if one.weight in read), default=len(position))
    return [one for one in layers if position[one.node] >= first]


def _kept_outputs(coupling: Coupling, plan: Plan, readers: Sequence[Consumer]) -> dict[Node, Tensor | None]:
    """For each layer the output channels that stay; None when all do."""
    narrowed = coupling.narrowed(plan.cuts)
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
    original: Program,
    shrunk: Program,
    readers: Sequence[Consumer],
    kept: dict[Node, Tensor | None],
    batches: list[Tensor],
    seed: int,
    progress: Progress,
) -> None:
    twins = {node.name: node for node in shrunk.graph.nodes}
    position = {node: index for index, node in enumerate(original.graph.nodes)}
    ordered = sorted(readers, key=lambda one: position[one.node])
    pins = [node for one in ordered for node in (one.receiver, one.partner) if node is not None]
    reference = Replay(original, batches, pins)
    present = Replay(shrunk, batches, [twins[one.source.name] for one in ordered])
    random = torch.Generator().manual_seed(seed)
    for one in ordered:
        source = twins[one.source.name]
        present.run_to(source)
        reference.run_to(one.receiver)
        target = _targets(one, reference, present, twins, position, kept[one.node])
        _refit(one, shrunk, present.value(source), target, random)
        present.release(source)
        reference.release(one.receiver)
        if one.partner is not None:
            reference.release(one.partner)
        progress.advance()


def _targets(
    one: Consumer,
    reference: Replay,
    present: Replay,
    twins: dict[str, Node],
    position: dict[Node, int],
    kept: Tensor | None,
) -> list[Tensor]:
    """What the layer (after its batch norm) should answer, drift of the stream included."""

    def original(node: Node) -> list[Tensor]:
        values = reference.value(node)
        axis = _channel_axis(one)
        return values if kept is None else [value.index_select(axis, kept) for value in values]

    wanted = original(one.receiver)
    if one.total is None or one.partner is None:
        return wanted
    partner = twins[one.partner.name]
    if position[one.partner] < position[one.node]:
        present.run_to(partner)
    if present.has(partner):
        return [total - other for total, other in zip(wanted, present.value(partner), strict=True)]
    # The other branch is computed later: it will correct its own share when its turn comes.
    return [total - other for total, other in zip(wanted, original(one.partner), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Moments of a layer's input columns and of what its output lacks."""

    inputs: Gram
    residual_sum: Tensor
    cross: Tensor
    target_sum: Tensor


def _refit(
    one: Consumer, shrunk: Program, sources: list[Tensor], targets: list[Tensor], random: torch.Generator
) -> None:
    tensors = shrunk.tensors()
    weight = tensors[one.weight].detach()
    scale = output_scale(one, tensors)
    present = weight.double().flatten(1).T * scale
    fit = _moments(one, sources, targets, present, random)
    centred = one.has_intercept
    covariance = fit.inputs.covariance(centred=centred)
    # The cross moments were summed about the shift; an intercept takes out the rest of the mean.
    offset = fit.inputs.shift.double() - (fit.inputs.mean if centred else 0.0)
    cross = (fit.cross + torch.outer(offset, fit.residual_sum)) / fit.inputs.count
    # Ridge towards the weights as they are: what the images do not determine stays.
    change = torch.linalg.solve(ridged(covariance, RIDGE), cross)
    fitted = present + change
    alive = scale.abs() > _DEAD * scale.abs().max()
    columns = torch.where(alive, fitted / torch.where(alive, scale, 1.0), present)
    with torch.no_grad():
        weight_new = torch.where(alive, columns, weight.double().flatten(1).T)
        tensors[one.weight].copy_(weight_new.T.reshape(weight.shape))
        _set_intercept(one, tensors, fit, weight_new, scale, alive)


def _moments(
    one: Consumer,
    sources: list[Tensor],
    targets: list[Tensor],
    present: Tensor,
    random: torch.Generator,
) -> _Fit:
    columns, out = present.shape
    inputs = Gram()
    cross = torch.zeros(columns, out, dtype=torch.float64)
    residual_sum = torch.zeros(out, dtype=torch.float64)
    target_sum = torch.zeros(out, dtype=torch.float64)
    single = present.float()
    for source, target in zip(sources, targets, strict=True):
        chosen = sample(positions(one.node, source), len(source), _ROWS, random)
        rows, wanted = patches(one.node, source, chosen), outputs(one.node, target, chosen)
        shifted = inputs.add(rows)
        residual = wanted - rows @ single
        cross += (shifted.T @ residual).double()
        residual_sum += residual.sum(0).double()
        target_sum += wanted.sum(0).double()
    return _Fit(inputs, residual_sum, cross, target_sum)


def _set_intercept(
    one: Consumer, tensors: dict[str, Tensor], fit: _Fit, columns: Tensor, scale: Tensor, alive: Tensor
) -> None:
    """Put the mean of the target where the layer keeps constants, batch statistics brought up to date."""
    mean_target = fit.target_sum / fit.inputs.count
    mean_output = fit.inputs.mean @ columns
    names = norm_tensors(one.norm) if one.norm is not None else None
    if one.norm is not None and names is not None:
        gain, shift, mean, variance = names
        if gain is None or shift is None:
            # A norm without weights: only its mean can hold the constant.
            tensors[mean].copy_(mean_output - mean_target / scale)
            return
        spread = torch.einsum("io,ij,jo->o", columns, fit.inputs.covariance(centred=True), columns)
        deviation = (spread.clamp_min(0) + norm_epsilon(one.norm)).sqrt()
        for name, value in (
            (gain, scale * deviation),
            (shift, mean_target),
            (mean, mean_output),
            (variance, spread.clamp_min(0)),
        ):
            tensors[name].copy_(torch.where(alive, value, tensors[name].double()))
    elif one.bias is not None:
        tensors[one.bias].copy_(mean_target - mean_output)


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

"""Ridge: the weights with which a layer comes closest to wanted values, and its constants to go with them.

What a flat activation cuts off need not be matched, only kept there (after Zhang et al. 2016,
arXiv 1505.06798).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.graph.consumers import Consumer, norm_epsilon, norm_tensors, output_scale
from edgeprune.graph.eliminate import RIDGE
from edgeprune.graph.gram import Gram, factored, outer

_RECTIFIED = 2
"""Repetitions of the fit in which values on the flat side of an activation are only asked to stay there."""
_DEAD = 1e-6
"""Batch-norm gains below this share of the largest are left alone: dividing by them is noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Some of a layer's rows, block by block.

    What it reads (blocks, n, columns), what its receiver should be (blocks, n, channels), what else is
    added there (the same shape, or 0), and the sites the rows are of (None for all).
    """

    rows: Tensor
    wanted: Tensor
    beside: Tensor | float
    sites: Tensor | None = None


Finish = Callable[[Tensor, Tensor], Tensor]
"""What is done to fitted columns (blocks, columns, channels), given their inputs' second moments."""


def refitted(
    one: Consumer,
    samples: Sequence[Sample],
    tensors: Mapping[str, Tensor],
    *,
    finish: Finish | None = None,
) -> dict[str, Tensor]:
    """New values for the layer's weight and for the tensors that hold its constants.

    Ridge regression after the batch norm, towards the weights as they are: what the rows do not
    determine stays. Constants are those that go with the columns as they were finished.
    """
    weight = tensors[one.weight].detach().double()
    scale = output_scale(one, tensors).detach()
    present = one.map.columns(weight) * one.map.per_block(scale)[:, None]
    inputs = Gram()
    for sample in samples:
        inputs.add(sample.rows)
    covariance = inputs.covariance(centred=one.has_intercept)
    factor = factored(covariance, RIDGE)
    fit = _solved(one, samples, inputs, covariance, factor, present, None)
    if one.linear_range != (-math.inf, math.inf):
        for _ in range(_RECTIFIED):
            fit = _solved(one, samples, inputs, covariance, factor, present, fit)
    del factor
    alive = scale.abs() > _DEAD * scale.abs().max()
    unscaled = fit.columns / one.map.per_block(torch.where(alive, scale, 1.0))[:, None]
    columns = torch.where(one.map.per_block(alive)[:, None], unscaled, one.map.columns(weight))
    if finish is not None:
        columns = finish(columns, covariance)
    found = {one.weight: one.map.weight(columns, weight)}
    return found | _constants(one, tensors, _Outputs.of(one, inputs, covariance, columns, fit), scale, alive)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Columns (blocks, columns, channels) and intercept (blocks, channels) of a layer with its batch norm."""

    columns: Tensor
    intercept: Tensor


def _solved(
    one: Consumer,
    samples: Sequence[Sample],
    inputs: Gram,
    covariance: Tensor,
    factor: Tensor,
    present: Tensor,
    last: _Fit | None,
) -> _Fit:
    """Least squares towards the wanted values.

    With a `last` fit, values outside the linear range of what reads them are only asked to stay there:
    for squared errors behind the activation this is a majorisation, so that the error falls with every
    repetition.
    """
    base = (present if last is None else last.columns).float()
    cross = torch.zeros_like(present)
    total = torch.zeros(present.shape[0], present.shape[2], dtype=torch.float64)
    left = torch.zeros_like(total)
    for sample in samples:
        answer = sample.rows @ base
        target = sample.wanted - sample.beside
        if last is not None:
            reached = answer + last.intercept.float()[:, None] + sample.beside
            target = _within(one.linear_range, sample.wanted, reached) - sample.beside
        rest = target - answer
        cross += sample.rows.mT @ rest
        total += target.sum(1)
        left += rest.sum(1)
    if one.has_intercept:
        cross -= outer(inputs.mean, left)
    # What is left of the target is small; the step from the weights as they are is counted in full precision.
    cross = cross / inputs.count + covariance @ (base.double() - present)
    columns = present + torch.cholesky_solve(cross, factor)
    if not one.has_intercept:
        return _Fit(columns, torch.zeros_like(total))
    intercept = total / inputs.count - (inputs.mean[:, None] @ columns)[:, 0]
    return _Fit(columns, one.map.per_block(one.map.joined(intercept)))


def _within(linear: tuple[float, float], wanted: Tensor, answer: Tensor) -> Tensor:
    """Wanted values, relaxed to the present answer where both lie on the same flat side."""
    low, high = linear
    wanted = torch.where(wanted <= low, answer.clamp_max(low), wanted)
    return torch.where(wanted >= high, answer.clamp_min(high), wanted)


@dataclass(frozen=True, slots=True, eq=False)
class _Outputs:
    """Per output channel: mean and variance of what the refitted weight answers, and the wanted mean."""

    mean: Tensor
    variance: Tensor
    target: Tensor

    @staticmethod
    def of(one: Consumer, inputs: Gram, covariance: Tensor, columns: Tensor, fit: _Fit) -> _Outputs:
        means = (inputs.mean[:, None] @ columns)[:, 0]
        mean = one.map.joined(means)
        spread = ((covariance @ columns) * columns).sum(1).clamp_min(0)
        # Blocks that share their constants differ in their means, too.
        between = (means - one.map.per_block(mean)).square()
        target = fit.intercept + (inputs.mean[:, None] @ fit.columns)[:, 0]
        return _Outputs(mean, one.map.joined(spread + between), one.map.joined(target))


def _constants(
    one: Consumer, tensors: Mapping[str, Tensor], outputs: _Outputs, scale: Tensor, alive: Tensor
) -> dict[str, Tensor]:
    """Put the mean of the target where the layer keeps constants, batch statistics brought up to date."""
    names = norm_tensors(one.norm) if one.norm is not None else None
    if one.norm is None or names is None:
        return {} if one.bias is None else {one.bias: outputs.target - outputs.mean}
    gain, shift, mean, variance = names
    centre = outputs.mean if one.bias is None else outputs.mean + tensors[one.bias].detach().double()
    if gain is None or shift is None:
        # A norm without weights: only its mean can hold the constant.
        return {mean: centre - outputs.target / scale}
    deviation = (outputs.variance + norm_epsilon(one.norm)).sqrt()
    values = {gain: scale * deviation, shift: outputs.target, mean: centre, variance: outputs.variance}
    return {name: torch.where(alive, value, tensors[name].double()) for name, value in values.items()}

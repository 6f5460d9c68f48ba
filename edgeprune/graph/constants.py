"""Constants: what a layer answers on average, put right where its weight is not its own to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgeprune.graph.consumers import Consumer, norm_epsilon, norm_tensors
from edgeprune.graph.ridge import Sample

_FLAT = 1e-8
"""A channel whose variance is below this share of what its norm expects counts as constant."""


def recalibrated(
    one: Consumer, samples: Sequence[Sample], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The batch norm's statistics, or the bias, with which each channel is distributed as it was.

    The mean that removed channels contributed is in there: nothing else of them can be kept here. A norm
    that fitted its images before the cut gets the statistics of what it reads now.
    """
    names = norm_tensors(one.norm) if one.norm is not None else None
    wanted = [sample.wanted - sample.beside for sample in samples]
    if one.norm is None or names is None:
        short = _mean(wanted) - _mean([sample.rows for sample in samples])
        return {one.weight: tensors[one.weight].double() + one.map.joined(short)}
    gain, shift, mean, variance = names
    now, spread = _moments(one, [sample.rows for sample in samples])
    target, target_spread = _moments(one, wanted)
    told = tensors[gain].double() if gain else torch.ones_like(now)
    squared = tensors[variance].double() + norm_epsilon(one.norm)
    # Channels that are constant before or after the cut keep the scale they have.
    varies = (spread > _FLAT * squared) & (target_spread > _FLAT * told.square())
    squared = torch.where(varies, spread * told.square() / target_spread, squared)
    scale = told / squared.sqrt()
    offset = target - (tensors[shift].double() if shift else 0.0)
    centre = now - offset / torch.where(scale == 0, 1.0, scale)
    return {mean: centre, variance: (squared - norm_epsilon(one.norm)).clamp_min(0)}


def _moments(one: Consumer, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel."""
    mean = _mean(parts)
    variance = _mean([(part - mean[:, None].float()).square() for part in parts])
    return one.map.joined(mean), one.map.joined(variance)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """Mean over all rows, shape (blocks, channels)."""
    total = torch.stack([part.double().sum(1) for part in parts]).sum(0)
    return total / sum(part.shape[1] for part in parts)

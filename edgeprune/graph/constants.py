"""Constants: what a layer answers on average, put right where its weight is not its own to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgeprune.graph.consumers import Consumer, norm_tensors
from edgeprune.graph.ridge import Sample


def recalibrated(
    one: Consumer, samples: Sequence[Sample], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A batch norm's statistics as they are now, or the bias with which the layer's mean is as it was.

    The mean that removed channels contributed is in both: nothing else of them can be kept here.
    """
    names = norm_tensors(one.norm) if one.norm is not None else None
    if names is None:
        short = _mean([sample.wanted - sample.beside - sample.rows for sample in samples])
        return {one.weight: tensors[one.weight].double() + one.map.joined(short)}
    mean = _mean([sample.rows for sample in samples])
    variance = _mean([(sample.rows - mean[:, None].float()).square() for sample in samples])
    return {names[2]: one.map.joined(mean), names[3]: one.map.joined(variance)}


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """Mean over all rows, shape (blocks, channels)."""
    total = torch.stack([part.double().sum(1) for part in parts]).sum(0)
    return total / sum(part.shape[1] for part in parts)

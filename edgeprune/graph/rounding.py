"""Rounding: weights on the grid a quantizer will use, each layer rounded so that its outputs stay.

The columns of a layer are rounded one after the other; what rounding one of them does to the outputs, the
columns that are still to come make good for (Frantar et al. 2022, GPTQ, arXiv 2210.17323, after the optimal
brain surgeon). Layers go in the order they run, on what they read when those before them are rounded, so
biases take up the mean of whatever error is left. A quantizer that takes the largest weight of a channel for
the end of its range finds the same grid again.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.consumers import consumers
from edgeprune.graph.couple import couple
from edgeprune.graph.gram import factored
from edgeprune.graph.linear_map import Phases
from edgeprune.graph.memory import images_per_batch
from edgeprune.graph.planned import plan_of
from edgeprune.graph.ridge import refitted
from edgeprune.graph.walk import Walk, affordable, layers_of
from edgeprune.graph.weights import copied, write

_IMAGES = 500
_DAMPING = 1e-2
"""Share of the mean second moment that is added to each: as in the paper."""
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
"""Shares of a channel's largest weight that are tried as the end of its range."""
_BLOCK = 128
"""Columns after which the ones to come are brought up to date together."""


def rounded(program: Program, calibration: Split, bits: int, *, seed: int = 0) -> Program:
    """A copy of the program whose layers hold weights of so many bits, and answer as near as these can.

    Parameters
    ----------
    calibration : Split
        The images that layers are fitted on; as many of them are taken as fit in memory.
    bits : int
        Of a weight: symmetric around zero, per output channel.
    """
    coupling = couple(program)
    copy = Program(rebuild(program, copied(program)), program.inputs)
    plan = plan_of(coupling, (), "", "")
    layers = layers_of(coupling, copy, plan, consumers(coupling))
    walk = partial(Walk, coupling, copy, plan, layers, seed)
    images = calibration.take(min(_IMAGES, affordable(walk, calibration)))
    size = images_per_batch(coupling)
    both = walk([torch.from_numpy(one) for one in images.inputs(size)])
    for number, layer in enumerate(layers):
        finish = None if isinstance(layer.one.map, Phases) else partial(on_grid, bits=bits)
        write(copy, refitted(layer.one, both.samples(number), copy.tensors(), finish=finish))
        both.leave(number)
    return copy


def on_grid(columns: Tensor, covariance: Tensor, *, bits: int) -> Tensor:
    """Columns of a layer rounded to multiples of each channel's step.

    Parameters
    ----------
    columns : tensor of shape (blocks, columns, channels)
    covariance : tensor of shape (blocks, columns, columns)
        Second moments of what the columns are multiplied with.
    """
    top = 2 ** (bits - 1) - 1
    steps = _steps(columns, covariance.diagonal(dim1=-2, dim2=-1), top)
    pinned = columns.abs() == columns.abs().amax(1, keepdim=True)
    inverse = torch.cholesky_inverse(factored(covariance, _DAMPING))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, done = columns.clone(), torch.empty_like(columns)
    for first in range(0, columns.shape[1], _BLOCK):
        last = min(first + _BLOCK, columns.shape[1])
        errors = torch.empty_like(columns[:, first:last])
        for place in range(first, last):
            value = (left[:, place] / steps).round().clamp(-top, top)
            # The largest weight stays at the end of the range, or the quantizer would choose another one.
            value = torch.where(pinned[:, place], columns[:, place].sign() * top, value)
            done[:, place] = value * steps
            error = (left[:, place] - done[:, place]) / upper[:, place, place, None]
            errors[:, place - first] = error
            rest = upper[:, place, place + 1 : last, None]
            left[:, place + 1 : last] -= rest * error[:, None]
        left[:, last:] -= upper[:, first:last, last:].mT @ errors
    return done


def _steps(columns: Tensor, moments: Tensor, top: int) -> Tensor:
    """Each channel's step, (blocks, channels): the range that loses least, clipped weights and rounding."""
    largest = columns.abs().amax(1).clamp_min(1e-30)
    best, least = largest / top, torch.full_like(largest, float("inf"))
    for clip in _CLIPS:
        steps = largest * clip / top
        near = (columns / steps[:, None]).round().clamp(-top, top) * steps[:, None]
        lost = ((columns - near).square() * moments[:, :, None]).sum(1)
        best, least = torch.where(lost < least, steps, best), torch.minimum(lost, least)
    return best

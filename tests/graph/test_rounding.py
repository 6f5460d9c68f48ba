from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import a_split, tiny
from torch import Tensor

from edgeprune.graph.answer import answers
from edgeprune.graph.capture import Program
from edgeprune.graph.rounding import on_grid, rounded
from edgeprune.graph.weights import copied, write


def levels(columns: Tensor) -> int:
    """The most distinct magnitudes of a channel, relative to its largest."""
    relative = columns / columns.abs().amax(1, keepdim=True)
    return max(len(torch.unique(one.round(decimals=6))) for one in relative[0].T)


def random_layer(columns: int = 40, channels: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Columns, inputs that depend on one another, and their second moments."""
    random = torch.Generator().manual_seed(3)
    mixed = torch.randn(500, columns, generator=random, dtype=torch.float64) @ torch.randn(
        columns, columns, generator=random, dtype=torch.float64
    )
    weight = torch.randn(1, columns, channels, generator=random, dtype=torch.float64)
    return weight, mixed, (mixed.mT @ mixed / len(mixed))[None]


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_every_channel_has_as_many_levels_as_its_bits_allow(bits: int) -> None:
    weight, _, moments = random_layer()
    done = on_grid(weight, moments, bits=bits)
    top = 2 ** (bits - 1) - 1
    steps = done.abs().amax(1, keepdim=True) / top
    assert torch.allclose(done / steps, (done / steps).round(), atol=1e-9)
    assert levels(done) <= 2 * top + 1


def test_rounding_column_by_column_keeps_outputs_better_than_rounding_to_nearest() -> None:
    weight, inputs, moments = random_layer()
    steps = weight.abs().amax(1, keepdim=True) / 7
    nearest = (weight / steps).round() * steps

    def lost(columns: Tensor) -> float:
        return float((inputs @ (columns - weight)[0]).square().mean())

    assert lost(on_grid(weight, moments, bits=4)) < 0.6 * lost(nearest)


def test_columns_that_see_nothing_are_rounded_all_the_same() -> None:
    weight, _, moments = random_layer()
    done = on_grid(weight, torch.zeros_like(moments), bits=4)
    assert torch.isfinite(done).all()


def test_a_rounded_network_answers_nearer_than_one_rounded_to_nearest() -> None:
    program, images = tiny(), a_split(200)
    batch = [inputs for inputs, _ in a_split(100, seed=7).batches(50)]
    whole = np.concatenate(list(answers(program, batch)))

    def distance(other: Program) -> float:
        return float(np.square(np.concatenate(list(answers(other, batch))) - whole).mean())

    done = rounded(program, images, 3)
    nearest = tiny()
    values = copied(nearest)
    for name, tensor in values.items():
        if tensor.ndim in {2, 4}:
            steps = tensor.abs().flatten(1).amax(1).reshape(-1, *[1] * (tensor.ndim - 1)) / 3
            values[name] = (tensor / steps).round() * steps
    write(nearest, values)
    assert distance(done) < distance(nearest)
    assert np.array_equal(np.concatenate(list(answers(program, batch))), whole), "the program itself stays"

"""Elimination: its harm is the error of an explicit refit without the same columns."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.graph.eliminate import Reader, eliminate, harm_without
from edgeprune.graph.gram import Gram, ridged, sample

UNITS, WIDTH, OUT, RIDGE = 6, 3, 4, 1e-2


def problem(seed: int, units: int = UNITS, width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    """Correlated rows, a weight on them, and which columns each unit owns (not in order)."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(units * width, units * width, generator=generator, dtype=torch.float64)
    rows = torch.randn(200, units * width, generator=generator, dtype=torch.float64) @ mixing
    weight = torch.randn(units * width, OUT, generator=generator, dtype=torch.float64)
    columns = torch.randperm(units * width, generator=generator).reshape(units, width)
    return rows, weight, columns


def reader(rows: Tensor, weight: Tensor, columns: Tensor) -> Reader:
    gram = Gram()
    gram.add(rows[None])
    return Reader(torch.linalg.inv(ridged(gram.covariance(centred=False), RIDGE)), weight[None], columns)


def refit_error(rows: Tensor, weight: Tensor, gone: Tensor) -> float:
    """Mean squared error plus ridge towards the old weight, by least squares on stacked rows."""
    covariance = rows.T @ rows / len(rows)
    strength = RIDGE * float(covariance.diagonal().mean()) + 1e-12
    design = torch.cat([rows / len(rows) ** 0.5, strength**0.5 * torch.eye(rows.shape[1], dtype=rows.dtype)])
    left = torch.ones(rows.shape[1], dtype=torch.bool)
    left[gone.ravel()] = False
    wanted = design @ weight
    fitted = torch.linalg.lstsq(design[:, left], wanted).solution
    return float((wanted - design[:, left] @ fitted).square().sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("order", [None, [4, 0, 5, 2, 1]])
def test_harm_is_the_error_of_an_explicit_refit(seed: int, order: list[int] | None) -> None:
    rows, weight, columns = problem(seed)

    removed, harm = eliminate([reader(rows, weight, columns)], UNITS, order)

    assert order is None or removed[:5] == order
    for count in range(UNITS):
        gone = columns[removed[:count]]
        assert harm[count] == pytest.approx(refit_error(rows, weight, gone), rel=1e-8, abs=1e-9)


def test_the_cheapest_unit_goes_next() -> None:
    rows, weight, columns = problem(3)

    removed, _ = eliminate([reader(rows, weight, columns)], UNITS)

    for count in range(UNITS - 1):
        errors = {
            unit: refit_error(rows, weight, columns[[*removed[:count], unit]]) for unit in removed[count:]
        }
        assert min(errors, key=errors.__getitem__) == removed[count]


def test_readers_add_up() -> None:
    parts = [reader(*problem(4)), reader(*problem(5, width=1))]
    order = [3, 1, 0, 5, 2, 4]

    both = eliminate(parts, UNITS, order)[1]

    single = [eliminate([part], UNITS, order)[1] for part in parts]
    np.testing.assert_allclose(both, single[0] + single[1], rtol=1e-10)


def test_a_unit_of_a_grouped_reader_goes_from_every_block() -> None:
    """A grouped reader is several readers that give up the same places."""
    (one, columns), (other, _) = ((reader(*problem(seed)), problem(10)[2]) for seed in (10, 11))
    grouped = Reader(torch.cat([one.inverse, other.inverse]), torch.cat([one.weight, other.weight]), columns)
    apart = [dataclasses.replace(part, columns=columns) for part in (one, other)]

    assert eliminate([grouped], UNITS)[0] == eliminate(apart, UNITS)[0]
    np.testing.assert_allclose(eliminate([grouped], UNITS)[1], eliminate(apart, UNITS)[1], rtol=1e-10)
    assert harm_without([grouped], [1, 4]) == pytest.approx(harm_without(apart, [1, 4]))


def test_every_unit_is_named_once_and_harm_never_falls() -> None:
    removed, harm = eliminate([reader(*problem(6))], UNITS)

    assert sorted(removed) == list(range(UNITS))
    assert len(harm) == UNITS
    assert harm[0] == 0
    assert all(first <= second for first, second in pairwise(harm))


def test_a_copied_unit_is_free_to_go_once() -> None:
    rows, weight, columns = problem(7)
    rows[:, columns[2]] = rows[:, columns[5]]

    removed, harm = eliminate([reader(rows, weight, columns)], UNITS)

    assert removed[0] in {2, 5}
    assert harm[1] < 0.1 * harm[2]


def test_the_reader_is_not_changed() -> None:
    one = reader(*problem(8))
    inverse, weight = one.inverse.clone(), one.weight.clone()

    eliminate([one], UNITS)

    assert torch.equal(one.inverse, inverse)
    assert torch.equal(one.weight, weight)


def test_moments_add_up_over_batches() -> None:
    rows = problem(9)[0].float() + 3
    gram = Gram()
    for batch in rows.split(37):
        gram.add(batch[None])

    assert gram.count == 200
    torch.testing.assert_close(gram.mean[0], rows.double().mean(0), rtol=1e-5, atol=1e-5)
    expected = torch.cov(rows.double().T, correction=0)
    torch.testing.assert_close(gram.covariance(centred=True)[0], expected, rtol=1e-4, atol=1e-3)


def test_positions_are_sampled_without_repetition_and_only_when_there_are_too_many() -> None:
    generator = torch.Generator().manual_seed(0)

    chosen = sample(10, 4, 12, generator)

    assert chosen is not None
    assert len(set(chosen.tolist())) == 3
    assert sample(10, 4, 40, generator) is None
    assert sample(10, 400, 40, generator) is not None

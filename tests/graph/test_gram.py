"""Moments of shards, merged, are those of all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.graph.gram import Gram, Spread, factored, ridged

OFFSET = 100.0


def rows(count: int, seed: int) -> Tensor:
    """Rows of two blocks whose mean is far above their spread."""
    return OFFSET + torch.randn(2, count, 5, generator=torch.Generator().manual_seed(seed))


def gram(*parts: Tensor) -> Gram:
    made = Gram()
    for part in parts:
        made.add(part)
    return made


@pytest.mark.parametrize("centred", [True, False])
def test_merged_grams_are_that_of_all_rows(centred: bool) -> None:
    merged = Gram()
    for shard in (gram(rows(30, 0), rows(7, 1)), Gram(), gram(rows(12, 2))):
        merged.merge(shard)
    whole = torch.cat([rows(30, 0), rows(7, 1), rows(12, 2)], 1).double()
    offset = whole.mean(1, keepdim=True) if centred else 0.0
    expected = (whole - offset).mT @ (whole - offset) / 49
    assert merged.count == 49
    assert np.allclose(merged.mean, whole.mean(1), rtol=1e-7)
    assert np.allclose(merged.covariance(centred=centred), expected, rtol=1e-5, atol=1e-5)


def test_merging_leaves_the_other_as_it_was() -> None:
    other = gram(rows(10, 0))
    before = other.covariance(centred=True).clone()
    merged = Gram()
    merged.merge(other)
    merged.add(rows(10, 1))
    assert torch.equal(other.covariance(centred=True), before)


def test_merged_spreads_are_that_of_all_rows() -> None:
    merged = Spread()
    for parts in ([rows(30, 0), rows(7, 1)], [], [rows(12, 2)]):
        shard = Spread()
        for part in parts:
            shard.add(part[0])
        merged.merge(shard)
    whole = torch.cat([rows(30, 0), rows(7, 1), rows(12, 2)], 1)[0].double()
    assert merged.total() == pytest.approx(float(whole.var(0, correction=0).sum()), rel=1e-5)


def singular(kind: str) -> Tensor:
    """Rows that do not determine a weight: constant, equal or all-zero columns, fewer rows than columns."""
    found = torch.randn(1, 40, 6, generator=torch.Generator().manual_seed(0))
    if kind == "constant":
        found[:, :, 2] = 3.0
    if kind == "equal":
        found[:, :, 1] = found[:, :, 0]
    if kind == "zero":
        found[:] = 0
    return found[:, :3] if kind == "few" else found


@pytest.mark.parametrize("kind", ["constant", "equal", "zero", "few"])
@pytest.mark.parametrize("centred", [True, False])
def test_singular_moments_can_be_factored(kind: str, centred: bool) -> None:
    covariance = gram(singular(kind)).covariance(centred=centred)
    factor = factored(covariance, 1e-4)
    assert factor.isfinite().all()
    torch.testing.assert_close(factor @ factor.mT, ridged(covariance, 1e-4))


def test_moments_that_rounding_made_indefinite_get_more_ridge() -> None:
    matrix = torch.diag(torch.tensor([1.0, 1.0, -0.01], dtype=torch.float64))[None]
    factor = factored(matrix, 1e-4)
    assert factor.isfinite().all()
    assert float((factor @ factor.mT - matrix).abs().max()) < 0.2


def test_a_block_of_zeros_beside_others_is_invertible() -> None:
    found = torch.randn(2, 40, 6)
    found[1] = 0
    inverse = torch.cholesky_inverse(factored(gram(found).covariance(centred=True), 1e-4))
    assert inverse.isfinite().all()

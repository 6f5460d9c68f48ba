"""Moments of shards, merged, are those of all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.graph.gram import Gram, Spread

OFFSET = 100.0


def rows(count: int, seed: int) -> Tensor:
    """Rows whose mean is far above their spread."""
    return OFFSET + torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


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
    whole = torch.cat([rows(30, 0), rows(7, 1), rows(12, 2)]).double()
    offset = whole.mean(0) if centred else 0.0
    expected = (whole - offset).T @ (whole - offset) / len(whole)
    assert merged.count == 49
    assert np.allclose(merged.mean, whole.mean(0), rtol=1e-7)
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
            shard.add(part)
        merged.merge(shard)
    whole = torch.cat([rows(30, 0), rows(7, 1), rows(12, 2)]).double()
    assert merged.total() == pytest.approx(float(whole.var(0, correction=0).sum()), rel=1e-5)

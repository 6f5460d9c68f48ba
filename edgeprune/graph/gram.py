"""Second moments of a layer's input columns, streamed over batches."""

from __future__ import annotations

import torch
from torch import Tensor


class Gram:
    """Count, sum and product sum of rows, in float64 whatever the rows are."""

    def __init__(self, columns: int) -> None:
        self.count = 0
        self.sum = torch.zeros(columns, dtype=torch.float64)
        self.product = torch.zeros(columns, columns, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Add rows of shape (n, columns)."""
        self.count += len(rows)
        self.sum += rows.sum(0).double()
        self.product += (rows.T @ rows).double()

    @property
    def mean(self) -> Tensor:
        """Mean of each column."""
        return self.sum / self.count

    def covariance(self, *, centred: bool) -> Tensor:
        """Second moments per row, about the mean when an intercept can absorb it."""
        second = self.product / self.count
        return second - torch.outer(self.mean, self.mean) if centred else second


def ridged(covariance: Tensor, ridge: float) -> Tensor:
    """The matrix with `ridge` times its mean diagonal added: invertible, and steady against noise."""
    strength = ridge * float(covariance.diagonal().mean()) + 1e-12
    return covariance + strength * torch.eye(len(covariance), dtype=covariance.dtype)


def sample(positions: int, images: int, rows: int, generator: torch.Generator) -> Tensor | None:
    """Positions to look at in each image of a batch so that about `rows` rows come out; None for all."""
    if images * positions <= rows:
        return None
    return torch.randperm(positions, generator=generator)[: max(1, rows // images)]

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


def sample_rows(rows: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """At most `limit` rows of a (batch, positions, columns) block, the same share of every image."""
    _, positions, columns = rows.shape
    if rows.shape[0] * positions <= limit:
        return rows.reshape(-1, columns)
    wanted = max(1, limit // rows.shape[0])
    chosen = torch.randperm(positions, generator=generator)[:wanted]
    return rows[:, chosen].reshape(-1, columns)

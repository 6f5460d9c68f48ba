"""Second moments of a layer's input columns, streamed over batches."""

from __future__ import annotations

import torch
from torch import Tensor

_FLAT = 1e-8
"""A block whose mean variance is below this share of the blocks' mean counts as constant."""
_HOPELESS = 1e6
"""No finite second moments need a ridge like this."""


class Gram:
    """Count, mean and second moments of rows, summed about the first rows' mean.

    Without that shift, columns whose mean is far above their spread would lose the spread to
    single-precision rounding. Rows of several blocks have moments of their own each.
    """

    def __init__(self) -> None:
        self.count = 0
        self.shift = torch.empty(0)
        self._sum = torch.empty(0)
        self._product = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """Add rows of shape (blocks, n, columns)."""
        if not self.count:
            blocks, _, columns = rows.shape
            self.shift = rows.mean(1)
            self._sum = torch.zeros(blocks, columns, dtype=torch.float64)
            self._product = torch.zeros(blocks, columns, columns, dtype=torch.float64)
        shifted = rows - self.shift[:, None]
        self.count += rows.shape[1]
        self._sum += shifted.sum(1).double()
        self._product += shifted.mT @ shifted

    def merge(self, other: Gram) -> None:
        """Add what another one has seen, as if its rows had been added here."""
        if not self.count:
            self.count, self.shift = other.count, other.shift
            self._sum, self._product = other._sum.clone(), other._product.clone()
        elif other.count:
            moved = other.shift.double() - self.shift.double()
            crossed = outer(other._sum, moved)
            self._product += other._product + crossed + crossed.mT + other.count * outer(moved, moved)
            self._sum += other._sum + other.count * moved
            self.count += other.count

    @property
    def mean(self) -> Tensor:
        """Mean of each column, shape (blocks, columns)."""
        return self.shift.double() + self._sum / self.count

    def covariance(self, *, centred: bool) -> Tensor:
        """Second moments per row, about the mean when an intercept can absorb it."""
        offset = self._sum / self.count
        second = torch.baddbmm(
            self._product, offset[:, :, None], offset[:, None, :], beta=1 / self.count, alpha=-1
        )
        return second if centred else second + outer(self.mean, self.mean)


class Spread:
    """Total variance of a value's channels, summed about the first rows' mean."""

    def __init__(self) -> None:
        self._count = 0
        self._shift = torch.empty(0)
        self._sum = torch.empty(0)
        self._squares = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """Add rows of shape (n, channels)."""
        if not self._count:
            self._shift = rows.mean(0)
            self._sum = torch.zeros(rows.shape[1], dtype=torch.float64)
            self._squares = torch.zeros(rows.shape[1], dtype=torch.float64)
        shifted = rows - self._shift
        self._count += len(rows)
        self._sum += shifted.sum(0).double()
        self._squares += shifted.square().sum(0).double()

    def merge(self, other: Spread) -> None:
        """Add what another one has seen, as if its rows had been added here."""
        if not self._count:
            self._count, self._shift = other._count, other._shift
            self._sum, self._squares = other._sum.clone(), other._squares.clone()
        elif other._count:
            moved = other._shift.double() - self._shift.double()
            self._squares += other._squares + 2 * other._sum * moved + other._count * moved.square()
            self._sum += other._sum + other._count * moved
            self._count += other._count

    def total(self) -> float:
        """Variances of all channels, added up."""
        return float((self._squares / self._count - (self._sum / self._count).square()).sum())


def outer(first: Tensor, second: Tensor) -> Tensor:
    """Products of all pairs of two vectors, block by block."""
    return first[:, :, None] * second[:, None, :]


def ridged(covariance: Tensor, ridge: float) -> Tensor:
    """Each block with `ridge` times its mean diagonal added: invertible, and steady against noise.

    A block that has seen nothing but zeros gets the strength of an average one, so that it is invertible too.
    """
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    means = diagonal.mean(-1, keepdim=True)
    strength = ridge * means.clamp_min(_FLAT * float(means.mean())) + 1e-12
    matrix = covariance.clone()
    matrix.diagonal(dim1=-2, dim2=-1).add_(strength)
    return matrix


def factored(covariance: Tensor, ridge: float) -> Tensor:
    """Cholesky factors of the ridged blocks; where rounding has made one indefinite, with more ridge.

    Single-precision sums of many columns can leave eigenvalues below zero that outweigh a small ridge.
    """
    factor: Tensor
    failed: Tensor
    factor, failed = torch.linalg.cholesky_ex(ridged(covariance, ridge))
    while failed.any():
        ridge *= 10
        assert ridge < _HOPELESS, "moments are not finite"
        factor, failed = torch.linalg.cholesky_ex(ridged(covariance, ridge))
    return factor


def sample(positions: int, images: int, rows: int, generator: torch.Generator) -> Tensor | None:
    """Positions to look at in each image of a batch so that about `rows` rows come out; None for all."""
    if images * positions <= rows:
        return None
    return torch.randperm(positions, generator=generator)[: max(1, rows // images)]

"""Input: what a network takes, and examples of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeprune.core.inputs import InputSize


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a network: sizes without the batch, and what it holds."""

    size: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    limit: int = 2
    """Integers are drawn from 0 to below this."""

    @classmethod
    def of(cls, asked: InputSize) -> Input:
        """The input that was asked for."""
        if asked.below is None:
            return cls(asked.size)
        return cls(asked.size, torch.int64, asked.below)

    @property
    def described(self) -> InputSize:
        """The inverse of `of`."""
        return InputSize(size=self.size, below=None if self.dtype.is_floating_point else self.limit)

    def example(self, batch: int, seed: int, dtype: torch.dtype) -> Tensor:
        """Seeded values of shape (batch, *size): standard normal, in `dtype`, or integers."""
        generator = torch.Generator().manual_seed(seed)
        if self.dtype.is_floating_point:
            return torch.randn(batch, *self.size, generator=generator, dtype=dtype)
        return torch.randint(self.limit, (batch, *self.size), generator=generator).to(self.dtype)

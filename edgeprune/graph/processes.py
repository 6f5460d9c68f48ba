"""Processes that work on one run together, as `torchrun` starts them: who is first, and what they exchange.

torchrun --nproc-per-node 2 -m edgeprune compress model.pt2 ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""The others wait for what the first process does alone, however long it takes; a process that fails
takes the others with it, which `torchrun` sees to."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of this run, seen from one of them."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def told(self, work: Callable[[], T]) -> T:
        """What the first process works out, in all of them; the others do not call `work`.

        Where it fails, the others end without a word: the first one says why.
        """
        if self.count == 1:
            return work()
        held: list[T | _Failed] = [_Failed()]
        try:
            if self.first:
                held = [work()]
        finally:
            dist.broadcast_object_list(held, src=0)
        if isinstance(held[0], _Failed):
            raise SystemExit(1)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """Every process' value, in the order of their ranks."""
        if self.count == 1:
            return [value]
        held: list[T | None] = [None] * self.count
        dist.all_gather_object(held, value)
        return held  # type: ignore[return-value]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type, in place, by their sums over all processes.

        They travel as one: a network has many small tensors, and a message costs more than its bytes.
        """
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([one.reshape(-1) for one in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [one.numel() for one in tensors])
        for one, total in zip(tensors, parts, strict=True):
            one.copy_(total.view_as(one))


class _Failed:
    """Sent in place of a value that there is none of."""


ALONE = Processes()


def rank_here() -> int:
    """The rank as `torchrun` says it, 0 without; known before the processes have met."""
    return int(os.environ.get("RANK", "0"))


def local_rank_here() -> int:
    """The rank among the processes on this machine as `torchrun` says it, 0 without."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def together() -> Iterator[Processes]:
    """Meet the processes that `torchrun` started; alone where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not dist.is_available():
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()

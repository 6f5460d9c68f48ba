"""Epochs: a split in a new order each time, dealt out in even batches, read ahead while the network works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgeprune.core.augmentation import Moves
from edgeprune.core.errors import DataError, RequestError
from edgeprune.core.recovery import Augment
from edgeprune.core.samples import Floats, Labels, Split


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One process' part of a batch: inputs of shape (n, ...), labels (n,) or None.

    `share` is that part's share of the whole batch.
    """

    inputs: Floats
    labels: Labels | None
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What one process does in an epoch: an order of the split, what is done to each image, the batches."""

    order: Labels
    moves: Moves
    parts: tuple[tuple[slice, float], ...]
    """The own part of every batch, as places in the order, and its share of the whole batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Epochs:
    """A split prepared for training; what an epoch holds follows from the seed and its number."""

    split: Split
    batch: int
    """Images per step, at most, of all processes together."""
    size: tuple[int, ...]
    augment: Augment
    seed: int
    part: int = 0
    parts: int = 1
    """This process is `part` of `parts`."""

    def __post_init__(self) -> None:
        least = 2 * self.parts
        if self.batch < least:
            raise RequestError(
                f"{self.parts} processes for batches of {self.batch} images: each needs two",
                hint=f"start at most {self.batch // 2} processes",
            )
        if len(self.split) < least:
            raise DataError(
                f"{self.split.samples.name}: {len(self.split)} images to train on, "
                f"but batch statistics need two in each of {self.parts} processes",
                hint="bring more data, or leave --epochs out",
            )

    @property
    def steps(self) -> int:
        """Batches in one epoch."""
        return -(-len(self.split) // self.batch)

    def drawn(self, number: int) -> Draw:
        """What the epoch of that number holds; all its batches have the same size, give or take one."""
        random = np.random.default_rng([self.seed, number])
        order = random.permutation(len(self.split))
        moves = Moves.drawn(self.augment, len(order), self.size, random)
        whole = np.linspace(0, len(order), self.steps + 1).astype(int)
        return Draw(order, moves, tuple(self._part(*bounds) for bounds in pairwise(whole.tolist())))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The own part of every batch."""
        draw = self.drawn(number)
        # One batch ahead: decoding images and training then take place at the same time.
        with ThreadPoolExecutor(1) as reader:
            waiting = None
            for places, share in draw.parts:
                coming = reader.submit(self._read, draw, places, share)
                if waiting is not None:
                    yield waiting.result()
                waiting = coming
            if waiting is not None:
                yield waiting.result()

    def _part(self, start: int, stop: int) -> tuple[slice, float]:
        bounds = np.linspace(start, stop, self.parts + 1).astype(int)
        first, last = int(bounds[self.part]), int(bounds[self.part + 1])
        return slice(first, last), (last - first) / (stop - start)

    def _read(self, draw: Draw, places: slice, share: float) -> Batch:
        chosen = self.split.at(draw.order[places])
        inputs, labels = next(chosen.batches(len(chosen)))
        return Batch(draw.moves.apply(inputs, places), labels, share)

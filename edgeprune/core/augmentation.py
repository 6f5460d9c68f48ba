"""Augmentation: images shifted and mirrored, drawn once per epoch from the seed.

What happens to an image depends on the seed, the epoch and its place in the epoch's order, so that it is
the same whichever process prepares it and wherever training goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.recovery import Augment
from edgeprune.core.samples import Floats

_SHARE = 8
"""Images move by up to an eighth of their side: 4 pixels of 32, as in most CIFAR recipes (He et al. 2015)."""


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """What is done to each image of an epoch: shifts of shape (images, 2) in pixels, and who is mirrored."""

    shifts: NDArray[np.int64]
    mirrored: NDArray[np.bool_]

    @classmethod
    def drawn(cls, kind: Augment, images: int, size: tuple[int, ...], random: np.random.Generator) -> Moves:
        """Moves for images of (channels, height, width); none for anything that is no image."""
        shifts = np.zeros((images, 2), np.int64)
        mirrored = np.zeros(images, np.bool_)
        if kind != "none" and len(size) == 3:
            for axis, side in enumerate(size[1:]):
                reach = side // _SHARE
                shifts[:, axis] = random.integers(-reach, reach + 1, images)
        if kind == "flip" and len(size) == 3:
            mirrored = random.random(images) < 0.5
        return cls(shifts, mirrored)

    @property
    def none(self) -> bool:
        """Whether every image stays as it is."""
        return not self.shifts.any() and not self.mirrored.any()

    def apply(self, inputs: Floats, places: slice) -> Floats:
        """The images at these places of the epoch's order, moved; new pixels mirror those at the edge."""
        own = Moves(self.shifts[places], self.mirrored[places])
        if own.none:
            return inputs
        rows, columns = own.sources(*inputs.shape[2:])
        image = np.arange(len(inputs))[:, None, None]
        moved = inputs.transpose(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))

    def sources(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row and the column each pixel comes from, of shapes (images, height) and (images, width)."""
        rows = _reflected(np.arange(height) + self.shifts[:, :1], height)
        across = np.where(self.mirrored[:, None], np.arange(width)[::-1], np.arange(width))
        return rows, _reflected(across + self.shifts[:, 1:], width)


def _reflected(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Places outside of 0..size-1 mirrored at the border; they are less than `size` away."""
    inside = np.abs(places)
    return np.where(inside >= size, 2 * (size - 1) - inside, inside)

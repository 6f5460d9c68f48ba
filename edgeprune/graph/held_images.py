"""Held images: a training set that fits beside the network waits on the device, and is moved about there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgeprune.core.epochs import Batch, Draw, Epochs

_CHUNK = 1_000
_SHARE = 0.25
"""Of the device's free memory that images may take: several runs may share a device."""

Part = tuple[Tensor, Tensor | None, float]
"""Inputs, labels and share of one batch, as `Batch` has them, on the device."""


def batches(epochs: Epochs, device: torch.device) -> HeldImages | ReadImages:
    """The batches of all epochs on a device, images held there where they fit."""
    if device.type != "cuda":
        return ReadImages(epochs, device)
    free, _ = torch.cuda.mem_get_info(device)
    needed = 4 * len(epochs.split) * int(torch.Size(epochs.size).numel())
    return HeldImages(epochs, device) if needed <= _SHARE * free else ReadImages(epochs, device)


class ReadImages:
    """Batches as `Epochs` reads them, taken to the device one by one."""

    def __init__(self, epochs: Epochs, device: torch.device) -> None:
        self._epochs, self._device = epochs, device

    def epoch(self, number: int) -> Iterator[Part]:
        """The own part of every batch of that epoch."""
        for batch in self._epochs.epoch(number):
            yield self._moved(batch)

    def _moved(self, batch: Batch) -> Part:
        labels = None if batch.labels is None else torch.from_numpy(batch.labels).to(self._device)
        return torch.from_numpy(batch.inputs).to(self._device), labels, batch.share


class HeldImages:
    """The same batches, bit for bit, gathered from images that were prepared once."""

    def __init__(self, epochs: Epochs, device: torch.device) -> None:
        self._epochs, self._device = epochs, device
        split = epochs.split
        prepared = [torch.from_numpy(one).to(device) for one in split.inputs(_CHUNK)]
        self._images = torch.cat(prepared)
        self._labels = None if split.labels is None else torch.from_numpy(split.labels).to(device)

    def epoch(self, number: int) -> Iterator[Part]:
        """The own part of every batch of that epoch."""
        draw = self._epochs.drawn(number)
        order = torch.from_numpy(draw.order).to(self._device)
        sources = self._sources(draw)
        for places, share in draw.parts:
            chosen = order[places]
            inputs = self._images[chosen]
            if sources is not None:
                inputs = _gathered(inputs, sources[0][places], sources[1][places])
            yield inputs, None if self._labels is None else self._labels[chosen], share

    def _sources(self, draw: Draw) -> tuple[Tensor, Tensor] | None:
        if draw.moves.none:
            return None
        height, width = self._images.shape[2:]
        rows, columns = draw.moves.sources(height, width)
        return torch.from_numpy(rows).to(self._device), torch.from_numpy(columns).to(self._device)


def _gathered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of images (n, channels, height, width) at rows (n, height) and columns (n, width)."""
    height, width = images.shape[2:]
    taken = images.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, width))
    return taken.gather(3, columns[:, None, None, :].expand(-1, images.shape[1], height, -1))

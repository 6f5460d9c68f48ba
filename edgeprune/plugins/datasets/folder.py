"""Images in one folder per class, the way labelled photographs usually lie on a disk.

    --data folder:flowers
    --data "folder:flowers?resize=256&crop=224"

Class indices follow the sorted folder names. With a `train` folder inside, that is the training pool and
`test` (or `val`) beside it the test set. Images are read as RGB, one batch at a time; where they differ
in size, `resize` sets the shorter side and `crop` cuts the centre out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from edgeprune.core.errors import DataError, did_you_mean
from edgeprune.core.samples import Labels, Pools, Samples

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Folder:
    """`--data folder:<dir>?resize=<pixels>&crop=<pixels>`: one folder of images per class."""

    dir: Path
    resize: Annotated[int, Field(ge=0)] = 0
    crop: Annotated[int, Field(ge=0)] = 0

    def open(self) -> Pools:
        """List the images; none is read yet."""
        if not self.dir.is_dir():
            raise DataError(f"{self.dir}: no such folder")
        train = self.dir / "train"
        if not train.is_dir():
            return Pools(self._samples(self.dir, _classes(self.dir)))
        classes = _classes(train)
        for test in (self.dir / "test", self.dir / "val"):
            if test.is_dir():
                return Pools(self._samples(train, classes), self._samples(test, classes))
        return Pools(self._samples(train, classes))

    def _samples(self, folder: Path, classes: list[str]) -> Samples:
        files, labels = _labelled(folder, classes)

        @cache
        def shape() -> tuple[int, ...]:
            return self._read(files[0]).shape

        def read(chosen: Sequence[int]) -> NDArray[np.generic]:
            images = []
            for file in (files[index] for index in chosen):
                images.append(self._read(file))
                if images[-1].shape != shape():
                    raise _unequal(file, images[-1].shape, files[0], shape())
            return np.stack(images).transpose(0, 3, 1, 2)

        return Samples(size=len(files), read=read, labels=labels, name=str(folder))

    def _read(self, file: Path) -> Pixels:
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{file}: not a readable image ({error})", hint="repair the file or take it out"
            ) from error
        pixels = np.asarray(_resized(image, self.resize) if self.resize else image)
        if not self.crop:
            return pixels
        if min(pixels.shape[:2]) < self.crop:
            raise DataError(
                f"{file}: {_size(pixels.shape)} pixels are too few for a crop of {self.crop}",
                hint=f"add resize={self.crop} or more",
            )
        return _centre(pixels, self.crop)


def _classes(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{folder}: no class folders", hint="put the images of each class in a folder")
    return names


def _labelled(folder: Path, classes: list[str]) -> tuple[list[Path], Labels]:
    """List the images of a pool, class by class, with their class indices."""
    images = {name: _images(folder / name) for name in _classes(folder)}
    unknown = sorted(set(images) - set(classes))
    if unknown:
        raise DataError(
            f"{folder}: class '{unknown[0]}' is not among the training classes",
            hint=did_you_mean(unknown[0], classes),
        )
    empty = [name for name in classes if not images.get(name)]
    if empty:
        raise DataError(
            f"{folder}: no images of class {', '.join(empty)}",
            hint=f"each class needs a folder with images ({', '.join(sorted(_SUFFIXES))})",
        )
    files = [file for name in classes for file in images[name]]
    labels = np.repeat(np.arange(len(classes)), [len(images[name]) for name in classes])
    return files, labels


def _images(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in _SUFFIXES and not entry.name.startswith(".")
    )


def _resized(image: Image.Image, shorter: int) -> Image.Image:
    """Scale the shorter side to `shorter` pixels; the other is rounded down, as torchvision does."""
    width, height = image.size
    scale = shorter / min(width, height)
    size = (shorter, int(height * scale)) if width <= height else (int(width * scale), shorter)
    return image.resize(size, Image.Resampling.BILINEAR)


def _centre(pixels: Pixels, size: int) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[top : top + size, left : left + size]


def _unequal(file: Path, shape: tuple[int, ...], other: Path, expected: tuple[int, ...]) -> DataError:
    return DataError(
        f"{file}: {_size(shape)} pixels, but {other} has {_size(expected)}",
        hint="add ?resize=<shorter side>&crop=<size> to --data, so that all images become equal",
    )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"

"""Inputs: what goes into every file, here and there: images of the user's, or seeded noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Tensor
from edgeprune.core.dataset import open_dataset
from edgeprune.core.errors import RequestError
from edgeprune.core.recipe import find_recipe
from edgeprune.core.samples import Split


def images_for(path: Path, data: str, count: int) -> NDArray[np.float32]:
    """Images of a dataset as the recipe beside a file prepares them, of its test images where it has some."""
    recipe, _ = find_recipe(path, None)
    pools = open_dataset(data, Path())
    samples = pools.test or pools.train
    places = np.linspace(0, samples.size - 1, min(count, samples.size)).astype(np.int64)
    ((images, _),) = Split(samples, places, recipe.preprocess).batches(len(places))
    return images


def inputs_of(tensor: Tensor, images: NDArray[np.float32] | None, count: int) -> list[NDArray[np.generic]]:
    """Single inputs as one file takes them: its size, its order of channels, its type.

    Raises
    ------
    RequestError
        The images do not fit the file.
    """
    shape = (1, *(size or 1 for size in tensor.shape[1:]))
    kind = np.dtype(tensor.dtype)
    singles = _noise(shape, count) if images is None else _fitted(images, shape, tensor)
    if kind.kind == "f":
        return [one.astype(kind) for one in singles]
    limits = np.iinfo(kind)
    low = 0 if images is None else limits.min
    return [np.clip(np.rint(one * 64 + 128), low, limits.max).astype(kind) for one in singles]


def _noise(shape: tuple[int, ...], count: int) -> Iterator[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.standard_normal(shape, dtype=np.float32)


def _fitted(
    images: NDArray[np.float32], shape: tuple[int, ...], tensor: Tensor
) -> Iterator[NDArray[np.float32]]:
    if images.shape[1:] != shape[1:] and images.ndim == 4:
        images = images.transpose(0, 2, 3, 1)
    if images.shape[1:] != shape[1:]:
        raise RequestError(
            f"images of {'x'.join(map(str, images.shape[1:]))} do not fit the input {tensor.name} of "
            f"{'x'.join(map(str, shape[1:]))}",
            hint="name the data that the network was made for, or leave --data out",
        )
    for place in range(len(images)):
        yield images[place : place + 1]

"""Samples: labelled inputs as a dataset plug-in hands them over, and the splits drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.errors import DataError
from edgeprune.core.interface import Interface
from edgeprune.core.recipe import Preprocess

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A pool of inputs read on demand.

    `read(indices)` returns raw inputs of shape (n, channels, ...), integer or floating point;
    `labels` has one class index per input, or is None.
    """

    size: int
    read: Callable[[Sequence[int]], NDArray[np.generic]]
    labels: Labels | None
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """What a dataset offers: samples to learn from, and its own test set when it has one."""

    train: Samples
    test: Samples | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Some samples for one purpose, ready for the network: float32, normalised, NaN-free."""

    samples: Samples
    indices: NDArray[np.int64]
    preprocess: Preprocess
    interface: Interface | None = None
    """Of the files that are fed with them; None for the network itself."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> Labels | None:
        """Class indices of the split's samples, shape (len,)."""
        return None if self.samples.labels is None else self.samples.labels[self.indices]

    def take(self, count: int) -> Split:
        """The first `count` samples (all when there are fewer)."""
        return replace(self, indices=self.indices[:count])

    def bare(self) -> Split:
        """The same without labels."""
        return replace(self, samples=replace(self.samples, labels=None))

    def at(self, places: NDArray[np.int64]) -> Split:
        """The samples at these places of the split, in their order."""
        return replace(self, indices=self.indices[places])

    def batches(self, size: int) -> Iterator[tuple[Floats, Labels | None]]:
        """Inputs of shape (<= size, channels, ...) with their labels, in order.

        For files that take 8-bit frames they are integers, whatever their type says: engines take either.

        Raises
        ------
        DataError
            NaN or infinite values, another number of channels than the recipe's, or no 8-bit frames.
        """
        for start in range(0, len(self.indices), size):
            chosen = self.indices[start : start + size]
            labels = None if self.samples.labels is None else self.samples.labels[chosen]
            yield self._as_taken(self.samples.read(chosen.tolist())), labels

    def inputs(self, size: int) -> Iterator[Floats]:
        """The same without labels."""
        return (inputs for inputs, _ in self.batches(size))

    def for_files(self, interface: Interface) -> Split:
        """The same samples, in batches as files with this interface take them."""
        return replace(self, interface=interface)

    def _as_taken(self, raw: NDArray[np.generic]) -> Floats:
        if self.interface is None:
            return self._prepare(raw)
        inputs = self._frames(raw) if self.interface.camera else self._prepare(raw)
        return cast(Floats, self.interface.laid_out(inputs))

    def _frames(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        # Floating point passes for 8-bit levels only where the recipe says how they are scaled.
        levels = np.issubdtype(raw.dtype, np.integer) or self.preprocess.scale is not None
        if not levels or not np.array_equal(raw, raw.astype(np.uint8)):
            raise DataError(
                f"{self.samples.name}: --camera takes 8-bit images, these are others ({raw.dtype})",
                hint="bring images of whole numbers from 0 to 255, or leave --camera out",
            )
        frames = raw.astype(np.uint8)
        crop = self.preprocess.crop
        return np.ascontiguousarray(_centre_crop(frames, crop) if crop else frames)

    def _prepare(self, raw: NDArray[np.generic]) -> Floats:
        recipe = self.preprocess
        integral = np.issubdtype(raw.dtype, np.integer)
        inputs = raw.astype(np.float32) / (recipe.scale or (255.0 if integral else 1.0))
        if not np.isfinite(inputs).all():
            raise DataError(
                f"{self.samples.name}: inputs contain NaN or infinite values",
                hint="clean the data; statistics and calibration need finite numbers",
            )
        if recipe.crop:
            inputs = _centre_crop(inputs, recipe.crop)
        for name, values in (("mean", recipe.mean), ("std", recipe.std)):
            if values and len(values) not in {1, inputs.shape[1]}:
                raise DataError(
                    f"{self.samples.name}: {inputs.shape[1]} channels, but the recipe's "
                    f"{name} has {len(values)} values"
                )
        per_channel = (1, -1, *[1] * (inputs.ndim - 2))
        if recipe.mean:
            inputs = inputs - np.asarray(recipe.mean, np.float32).reshape(per_channel)
        if recipe.std:
            inputs = inputs / np.asarray(recipe.std, np.float32).reshape(per_channel)
        return np.ascontiguousarray(inputs, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Disjoint sets of images: to calibrate on, to choose by, and to report with."""

    calibration: Split
    selection: Split
    test: Split
    training: Split
    """Everything that may be trained on: the pool without selection and test, calibration included."""
    classes: int
    grouped: Split | None = None
    """The selection images with labels that only tell classes apart; None where labels judge answers, too."""

    @property
    def ranking(self) -> Split:
        """The selection images with what labels there are: to rank units by."""
        return self.selection if self.grouped is None else self.grouped

    def unjudged(self) -> Splits:
        """The same for a network whose answers no label can judge (core/alike.py).

        Labels stay where units are ranked by them; selection, test and training images go without.
        """
        return replace(
            self,
            selection=self.selection.bare(),
            test=self.test.bare(),
            training=self.training.bare(),
            grouped=self.ranking,
        )


def singles(batches: Iterable[Floats], most: int) -> Iterator[Floats]:
    """The first inputs of some batches one by one, each of shape (1, channels, ...)."""
    ones = (batch[place : place + 1] for batch in batches for place in range(len(batch)))
    return islice(ones, most)


def draw_calibration(
    pools: Pools, preprocess: Preprocess, *, count: int, classes: int | None, seed: int
) -> Split:
    """Images to take statistics on, each class in proportion; those `draw_splits` would calibrate on.

    Raises
    ------
    DataError
        One class only, labels out of range, or fewer images than asked for.
    """
    train = pools.train
    _check_labels(train, classes)
    if train.size < count:
        raise DataError(
            f"{train.name}: {train.size} images, but {count} are asked for",
            hint="ask for fewer with --images, or bring more data",
        )
    return Split(train, _stratified_order(train, seed)[:count], preprocess)


def draw_splits(
    pools: Pools,
    preprocess: Preprocess,
    *,
    calibration: int,
    selection: int,
    test: int | None,
    classes: int | None,
    seed: int,
) -> Splits:
    """Draw disjoint splits, each class in proportion where there are labels.

    Calibration and selection come from the training pool; the test split is the dataset's own test
    set (all of it, or `test` images), or what a single pool has left over.

    Parameters
    ----------
    classes : int | None
        Number of network outputs, checked against the labels when given.

    Raises
    ------
    DataError
        One class only, labels out of range or for one pool only, or fewer images than asked for.
    """
    train = pools.train
    _check_alike(pools)
    count = _check_labels(train, classes)
    wanted = calibration + selection + (0 if pools.test else (test or 1))
    if train.size < wanted:
        raise DataError(
            f"{train.name}: {train.size} images, but {wanted} are asked for "
            f"({calibration} calibration + {selection} selection"
            + ("" if pools.test else f" + {test or 1} test")
            + ")",
            hint="ask for fewer with --images, or bring more data",
        )
    order = _stratified_order(train, seed)
    first, second = order[:calibration], order[calibration : calibration + selection]
    if pools.test is not None:
        count = max(count, _check_labels(pools.test, classes))
        final, source = _stratified_order(pools.test, seed), pools.test
    else:
        final, source = order[calibration + selection :], train
    rest = order[calibration + selection :] if pools.test is not None else order[:0]
    return Splits(
        training=Split(train, np.concatenate([first, rest]), preprocess),
        calibration=Split(train, first, preprocess),
        selection=Split(train, second, preprocess),
        test=Split(source, final if test is None else final[:test], preprocess),
        classes=count,
    )


def _check_alike(pools: Pools) -> None:
    """Labels for training images only would claim no accuracy, those for test images only no statistics."""
    bare = [pool for pool in (pools.train, pools.test) if pool is not None and pool.labels is None]
    if len(bare) == 1 and pools.test is not None:
        raise DataError(
            f"{bare[0].name}: no labels, but the dataset's other images have some",
            hint="bring labels for all images, or for none: then everything goes on without",
        )


def _check_labels(samples: Samples, classes: int | None) -> int:
    """How many classes there are at least; as many as the network answers, or none, without labels."""
    labels = samples.labels
    if labels is None:
        return classes or 0
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{samples.name}: all {samples.size} images are of class {present[0] if len(present) else '-'}",
            hint="screening compares classes, so the data needs at least two",
        )
    if present[0] < 0 or (classes is not None and present[-1] >= classes):
        raise DataError(
            f"{samples.name}: labels run from {present[0]} to {present[-1]}, "
            f"but the network has {classes} outputs",
            hint="labels are class indices from 0 on, in the order of the network's outputs",
        )
    return int(present[-1]) + 1


def _stratified_order(samples: Samples, seed: int) -> NDArray[np.int64]:
    """A random order in which every prefix has each class in proportion."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(samples.size)
    if samples.labels is None:
        return shuffled
    labels = samples.labels[shuffled]
    rank = np.empty(samples.size)
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)
        rank[where] = (np.arange(len(where)) + random.random()) / len(where)
    return shuffled[np.argsort(rank, kind="stable")]


def _centre_crop(inputs: NDArray[Pixel], size: int) -> NDArray[Pixel]:
    height, width = inputs.shape[-2:]
    if min(height, width) < size:
        raise DataError(f"images of {height}x{width} are smaller than the crop of {size}")
    top, left = (height - size) // 2, (width - size) // 2
    return inputs[..., top : top + size, left : left + size]

"""The datasets torchvision knows how to find and download.

    --data torchvision:CIFAR10
    --data "torchvision:FashionMNIST?root=/data&download=true"

Any torchvision dataset built from `root`, `train` and `download` will do: MNIST, FashionMNIST, KMNIST,
CIFAR10, CIFAR100, USPS and their kin.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.dataset import channels_first, class_indices
from edgeprune.core.errors import DataError, did_you_mean
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.samples import Pools, Samples

_NEEDED = {"root", "train", "download"}


@dataclass(frozen=True)
class Torchvision:
    """`--data torchvision:<name>?root=<folder>&download=true`: a dataset of torchvision's own."""

    name: str
    root: Path = Path("data")
    download: bool = False

    def open(self) -> Pools:
        """Open the training and the test part, downloading them first when asked to."""
        import_torchvision()
        factory = _factory(importlib.import_module("torchvision.datasets"), self.name)
        return Pools(train=self._part(factory, train=True), test=self._part(factory, train=False))

    def _part(self, factory: Any, *, train: bool) -> Samples:
        try:
            dataset = factory(root=str(self.root), train=train, download=self.download)
        except (RuntimeError, OSError) as error:
            # A RuntimeError: files absent or damaged. An OSError: no network, or a disk that refuses.
            raise DataError(
                f"torchvision:{self.name}: not usable in {self.root} ({error})", hint=self._hint()
            ) from error
        name = f"torchvision:{self.name} ({'train' if train else 'test'})"

        def read(chosen: Sequence[int]) -> NDArray[np.generic]:
            return channels_first(np.stack([np.asarray(dataset[index][0]) for index in chosen]))

        labels = class_indices(np.asarray(dataset.targets), name=name)
        return Samples(size=len(labels), read=read, labels=labels, name=name)

    def _hint(self) -> str:
        if self.download:
            return "check the network and the folder, or place the files there by hand"
        return "name the folder with ?root=..., or add ?download=true"


def _factory(datasets: ModuleType, name: str) -> Any:
    usable = [known for known in datasets.__all__ if _is_usable(getattr(datasets, known))]
    if name not in usable:
        raise DataError(
            f"torchvision has no dataset '{name}' with a train and a test part",
            hint=did_you_mean(name, usable),
        )
    return getattr(datasets, name)


def _is_usable(factory: Any) -> bool:
    return set(inspect.signature(factory).parameters) >= _NEEDED

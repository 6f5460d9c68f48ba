"""Your own code: a function that returns the data, for everything the other kinds do not cover.

    --data my_package.data:digits
    --data data.py:digits

(or in full `factory:data.py:digits`). The function takes no arguments and returns one of

- `(x, y)`: arrays or tensors,
- `((x_train, y_train), (x_test, y_test))`,
- a map-style torch `Dataset` of `(input, class index)` pairs, or two of them: train and test,
- a `Pools`.

With None for the labels (`(x, None)`) the images serve for everything but accuracy and class statistics.
The module or file runs with your rights, as it would under `python`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core import named
from edgeprune.core.dataset import array_samples, channels_first, class_indices
from edgeprune.core.errors import DataError, did_you_mean
from edgeprune.core.samples import Pools, Samples


@dataclass(frozen=True)
class Factory:
    """`--data <module or file.py>:<function>`: whatever the function returns."""

    path: str

    def open(self) -> Pools:
        """Import the module or run the file, and call the function."""
        module_name, _, attribute = self.path.rpartition(":")
        if not module_name or not attribute:
            raise DataError(
                f"factory '{self.path}' names no function",
                hint="write package.module:function or path/to/file.py:function",
            )
        with named.importable(module_name, Path()):
            is_file = named.is_file(module_name)
            module = _run_file(Path(module_name)) if is_file else _import(module_name)
            return _pools(_function(module, attribute, self.path)(), self.path)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"factory module '{name}' does not import: {error}",
            hint="modules are looked up in the current folder and the installed packages",
        ) from error


def _run_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        return named.run_file(file)
    except ImportError as error:
        raise DataError(f"{file}: does not import: {error}") from error
    except SyntaxError as error:
        raise DataError(f"{file}: line {error.lineno}: {error.msg}") from error


def _function(module: ModuleType, name: str, path: str) -> Callable[[], Any]:
    function = named.find_function(module, name)
    if function is not None:
        return function
    functions = [known for known, value in vars(module).items() if callable(value) and known[0] != "_"]
    raise DataError(f"factory '{path}': no function '{name}'", hint=did_you_mean(name, functions))


def _pools(made: object, name: str) -> Pools:
    if isinstance(made, Pools):
        return made
    if _is_dataset(made):
        return Pools(_dataset_samples(made, name))
    match made:
        case (first, second) if _is_part(first) and _is_part(second):
            return Pools(_part(first, f"{name} (train)"), _part(second, f"{name} (test)"))
        case (_, _):
            return Pools(_part(made, name))
    raise DataError(
        f"factory '{name}' returned {type(made).__name__}, which is no dataset",
        hint="return (x, y), ((x_train, y_train), (x_test, y_test)), a torch Dataset or a Pools",
    )


def _is_part(value: object) -> bool:
    return _is_dataset(value) or (isinstance(value, tuple) and len(value) == 2)


def _part(value: Any, name: str) -> Samples:
    if _is_dataset(value):
        return _dataset_samples(value, name)
    inputs, labels = value
    return array_samples(_array(inputs), None if labels is None else _array(labels), name=name)


def _is_dataset(value: object) -> bool:
    from torch.utils.data import Dataset

    return isinstance(value, Dataset)


def _dataset_samples(dataset: Any, name: str) -> Samples:
    """Read a torch dataset on demand; labels are collected once, from `targets` where it has them."""
    size = len(dataset)
    labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = [dataset[index][1] for index in range(size)]

    def read(chosen: Sequence[int]) -> NDArray[np.generic]:
        return channels_first(np.stack([_array(dataset[index][0]) for index in chosen]))

    return Samples(size=size, read=read, labels=class_indices(_array(labels), name=name), name=name)


def _array(value: Any) -> NDArray[np.generic]:
    """Convert an array, a nested sequence or a tensor on any device."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return np.asarray(value.numpy(force=True))
    return np.asarray(value)

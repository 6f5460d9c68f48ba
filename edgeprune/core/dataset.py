"""Datasets: opened by the text of `--data`, and how the arrays in them become samples."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core import registry
from edgeprune.core.errors import DataError, PluginError, did_you_mean, nearest
from edgeprune.core.samples import Labels, Pools, Samples

_PYTHON_NAME = re.compile(r"(?P<module>.+\.py|[\w.]+):(?P<attribute>\w+)")
_PYTHON_FILE = re.compile(r"(?P<file>.+\.py):(?P<attribute>\w+)")
_CHANNEL_COUNTS = {1, 3, 4}
_NUMBERS = "biuf"  # numpy's kinds: bool, int, unsigned, float


def open_dataset(text: str, base: Path) -> Pools:
    """Open what `--data name:location?option=value&option=value` describes.

    Relative paths start at `base`. A text that names no plug-in but looks like `package.module:name` or
    `file.py:name` is a factory.

    Raises
    ------
    PluginError
        No such kind of dataset, or options it does not have.
    DataError
        The dataset is absent or malformed.
    """
    name, options = _parse(text)
    plugin = registry.find("datasets", name)
    types = typing.get_type_hints(plugin)
    located = {key: _located(value, types.get(key), base) for key, value in options.items()}
    pools: Pools = registry.build("datasets", name, located).open()
    return pools


def array_samples(inputs: NDArray[np.generic], labels: NDArray[np.generic] | None, *, name: str) -> Samples:
    """Offer arrays in memory as samples; only the inputs that are asked for are ever copied.

    Parameters
    ----------
    inputs
        Numbers of shape (n, features), (n, height, width), (n, channels, ...) or
        (n, height, width, channels).
    labels
        Class indices, shape (n,) or (n, 1); None where there are none.
    name
        What error messages call these samples.
    """
    if inputs.ndim < 2 or inputs.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{name}: inputs of shape {inputs.shape} and type {inputs.dtype} are not images or features",
            hint="bring numbers of shape (n, channels, height, width), (n, height, width, channels) "
            "or (n, features)",
        )
    indices = None if labels is None else class_indices(labels, name=name)
    if indices is not None and len(inputs) != len(indices):
        raise DataError(
            f"{name}: {len(inputs)} inputs, but {len(indices)} labels",
            hint="every input needs its label, in the same order",
        )

    def read(chosen: Sequence[int]) -> NDArray[np.generic]:
        return channels_first(inputs[np.asarray(chosen, dtype=np.int64)])

    return Samples(size=len(inputs), read=read, labels=indices, name=name)


def class_indices(labels: NDArray[np.generic], *, name: str) -> Labels:
    """Bring labels to whole numbers of shape (n,); floats pass when they are whole."""
    flat = labels.reshape(-1) if labels.shape[1:] == (1,) else labels
    if flat.ndim == 1 and flat.dtype.kind in _NUMBERS and _are_whole(flat):
        return flat.astype(np.int64)
    raise DataError(
        f"{name}: labels of shape {labels.shape} and type {labels.dtype} are not class indices",
        hint="bring one whole number per input, from 0 on, in the order of the network's outputs; or leave "
        "the labels out: refit, taylor, wanda and l2 rank without them",
    )


def channels_first(inputs: NDArray[np.generic]) -> NDArray[np.generic]:
    """Bring inputs to (n, channels, ...): grey images get a channel axis, a trailing one moves forward.

    Four axes end in channels when the last one has 1, 3 or 4 entries, fewer than the second has.
    """
    if inputs.ndim == 3:
        return inputs[:, None]
    if inputs.ndim == 4 and inputs.shape[3] in _CHANNEL_COUNTS and inputs.shape[3] < inputs.shape[1]:
        return inputs.transpose(0, 3, 1, 2)
    return inputs


def _are_whole(labels: NDArray[Any]) -> bool:
    return bool(np.isfinite(labels).all()) and np.array_equal(labels, np.rint(labels))


def _parse(text: str) -> tuple[str, dict[str, str]]:
    """Split a text into the plug-in it asks for and its options, the location first."""
    name, _, rest = text.partition(":")
    known = registry.names("datasets")
    if name not in known:
        # A bare word close to a plug-in's name is a slip far more often than a module.
        if not _PYTHON_NAME.fullmatch(text) or ("." not in name and nearest(name, known)):
            raise PluginError(f"unknown dataset '{name}' in '{text}'", hint=did_you_mean(name, known))
        name, rest = "factory", text
    location, _, query = rest.partition("?")
    first = dataclasses.fields(registry.find("datasets", name))[0].name
    if not location:
        raise PluginError(f"dataset '{text}' does not say which", hint=f"write {name}:<{first}>")
    return name, {first: location, **registry.parse_options(query, where=f"dataset '{text}'")}


def _located(value: str, annotation: Any, base: Path) -> str | Path:
    """Place a path, or the file of `file.py:name`, under `base`; leave any other option as it is."""
    if annotation is Path:
        return base / Path(value).expanduser()
    python = _PYTHON_FILE.fullmatch(value)
    if python:
        return f"{base / Path(python['file']).expanduser()}:{python['attribute']}"
    return value

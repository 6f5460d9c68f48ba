"""What every plug-in must be, and every dataset."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgeprune.core.protocols import Dataset
from edgeprune.core.registry import Family, find, names


def check_plugin(family: Family, name: str) -> None:
    """What every plug-in must be: importable, a frozen dataclass, documented with how it is selected."""
    plugin = find(family, name)
    assert dataclasses.is_dataclass(plugin), f"{name} is not a dataclass"
    assert vars(plugin)["__dataclass_params__"].frozen, f"{name} is not frozen"
    assert plugin.__doc__, f"{name} has no docstring"
    assert name in names(family)


def check_dataset(dataset: Dataset) -> None:
    """Every dataset hands over inputs with channels second, finite, with one label each."""
    train = dataset.open().train
    inputs = train.read([0, train.size - 1])
    assert len(inputs) == 2
    assert inputs.ndim in {2, 3, 4}
    assert np.isfinite(inputs.astype(np.float64)).all()
    assert train.labels is not None
    assert train.labels.shape == (train.size,)
    assert train.labels.dtype == np.int64

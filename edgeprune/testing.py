"""For tests, ours and those of plug-in authors: fakes that behave, and what every plug-in must satisfy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format
from edgeprune.core.group import Group, Slice
from edgeprune.core.protocols import Criterion, Dataset
from edgeprune.core.registry import Family, find, names

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FakeEvidence:
    """Evidence with known numbers: unit u has magnitude u + 1, F of 2 u, and is eliminated u-th."""

    labelled: bool = True

    def magnitude(self, group: Group, order: float) -> Floats:
        """Ascending magnitudes."""
        return np.arange(1, group.units + 1, dtype=np.float64)

    def f_statistic(self, group: Group) -> Floats | None:
        """Ascending F, None without labels."""
        return 2.0 * np.arange(group.units, dtype=np.float64) if self.labelled else None

    def elimination(self, group: Group) -> Floats | None:
        """Ascending harm, None without labels."""
        return np.linspace(0, 1, group.units) if self.labelled else None

    def random(self, group: Group) -> Floats:
        """The same numbers every time."""
        return np.random.default_rng(0).random(group.units)


@dataclass
class FakeSession:
    """Answers with the mean of its input, in a time that it is told."""

    nanoseconds: int = 1_000_000
    calls: list[int] = field(default_factory=list)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """One image of 3 x 8 x 8."""
        return (1, 3, 8, 8)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Means per channel, shape (batch, channels)."""
        self.calls.append(len(inputs))
        return np.asarray(inputs.reshape(*inputs.shape[:2], -1).mean(2), dtype=np.float32)

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        """As long as it was told, every time."""
        return [self.nanoseconds] * runs

    def facts(self) -> Mapping[str, str]:
        """It says that it is a fake."""
        return {"runtime": "fake", "version": "0"}


@dataclass(frozen=True)
class FakeRuntime:
    """Opens any file as a FakeSession."""

    threads: int = 1
    format: Format = field(default="onnx", init=False)

    def open(self, path: Path) -> FakeSession:
        """A session; the file is not looked at."""
        return FakeSession()


def a_group(units: int = 4) -> Group:
    """A free group of `units` channels between two convolutions."""
    rows = np.arange(units, dtype=np.int64)[:, None]
    return Group(
        "conv1",
        units,
        (Slice("conv1.weight", 0, "producer", rows), Slice("conv2.weight", 1, "consumer", rows)),
    )


def check_plugin(family: Family, name: str) -> None:
    """What every plug-in must be: importable, a frozen dataclass, documented with how it is selected."""
    plugin = find(family, name)
    assert dataclasses.is_dataclass(plugin), f"{name} is not a dataclass"
    assert vars(plugin)["__dataclass_params__"].frozen, f"{name} is not frozen"
    assert plugin.__doc__, f"{name} has no docstring"
    assert name in names(family)


def check_criterion(criterion: Criterion, *, sizes: Sequence[int] = (2, 5, 16)) -> None:
    """Every criterion scores every unit with a finite number, and twice alike."""
    for units in sizes:
        group, evidence = a_group(units), FakeEvidence(labelled=criterion.needs_data)
        scores = criterion.score(group, evidence)
        assert scores.shape == (units,)
        assert np.isfinite(scores).all()
        assert (criterion.score(group, evidence) == scores).all()


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

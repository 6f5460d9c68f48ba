"""Protocols: what a plug-in must do to be a dataset, criterion, exporter, quantizer or runtime.

Every plug-in is a frozen dataclass in one file; its fields are its options. torch appears here in
annotations only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Format, Precision
from edgeprune.core.group import Group
from edgeprune.core.samples import Pools

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

Array = NDArray[np.generic]


class Dataset(Protocol):
    """Opens a source of labelled images.

    The text behind the colon of `--data name:location?option=value` fills the first field.
    """

    def open(self) -> Pools:
        """The pools of samples; raises DataError when the source is absent or malformed."""


class Evidence(Protocol):
    """What a criterion may look at; every array has one row per unit of the group."""

    def magnitude(self, group: Group, order: float) -> NDArray[np.float64]:
        """Mean l-`order` norm of each unit's producing weights, shape (units,)."""

    def f_statistic(self, group: Group) -> NDArray[np.float64] | None:
        """One-way ANOVA F across classes of each unit's mean activation; None without labels."""

    def elimination(self, group: Group) -> NDArray[np.float64] | None:
        """Refit error after each unit's removal in greedy order; None without data."""

    def random(self, group: Group) -> NDArray[np.float64]:
        """Seeded uniform numbers, shape (units,)."""


class Criterion(Protocol):
    """Ranks the units of a group: the lowest score is cut first.

    A criterion that never asks for `elimination` may say so with `needs_second_moments = False`:
    `edgeprune screen` then takes about as long as running the network does.
    """

    needs_data: bool

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """One score per unit, comparable within the group."""


class Exporter(Protocol):
    """Writes a captured program as a float32 file."""

    format: Format

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`; raises ModelError naming the operator the format lacks."""


class Quantizer(Protocol):
    """Makes a smaller file from a float32 file of the same format."""

    format: Format
    precision: Precision
    needs_data: bool

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`; `calibration` holds batches of network inputs, empty when data-free."""


class Session(Protocol):
    """A loaded artifact, ready to answer."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Sizes of the input; None where any size fits."""

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for a batch of inputs of any size."""

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        """Durations of `runs` single inferences of one input, nanoseconds."""

    def facts(self) -> Mapping[str, str]:
        """At least `runtime` and `version`."""


class Runtime(Protocol):
    """Loads files of one format on this machine."""

    format: Format
    threads: int

    def open(self, path: Path) -> Session:
        """Load a file; raises DeviceError when the runtime refuses it."""


__all__ = [
    "Array",
    "Artifact",
    "Criterion",
    "Dataset",
    "Evidence",
    "Exporter",
    "Quantizer",
    "Runtime",
    "Session",
]

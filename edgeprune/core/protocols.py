"""Protocols: what a plug-in must do to be a dataset, criterion, exporter, quantizer, runtime or transport.

Every plug-in is a frozen dataclass in one file; its fields are its options. torch appears here in
annotations only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Format, Precision
from edgeprune.core.completed import Completed
from edgeprune.core.contents import Contents
from edgeprune.core.group import Group, Role
from edgeprune.core.operator import Operator, Step
from edgeprune.core.ranges import Histogram, Range
from edgeprune.core.samples import Pools

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

Array = NDArray[np.generic]
Need = Literal["moments", "gram", "outcomes", "activations", "gradients"]
"""Evidence that costs a pass over images: moments per class (these need labels), second moments of what
layers read, moments per class of what they answer, root mean squares of what weights read, gradients."""


class Dataset(Protocol):
    """Opens a source of labelled images.

    The text behind the colon of `--data name:location?option=value` fills the first field.
    """

    def open(self) -> Pools:
        """The pools of samples; raises DataError when the source is absent or malformed."""


class Evidence(Protocol):
    """What a criterion may look at; every array has one row per unit of the group.

    What has to be gathered from images is None where the criterion did not say that it needs it, and for
    groups that have none of it: those that no layer reads, say. So are F statistics that are not defined, as
    the images show no class twice.
    """

    def magnitude(self, group: Group, order: float) -> NDArray[np.float64]:
        """Mean l-`order` norm of each unit's producing weights, shape (units,)."""

    def group_norm(self, group: Group) -> NDArray[np.float64]:
        """Euclidean norm of all weights that go with each unit, those of its readers too, shape (units,)."""

    def weights(self, group: Group, roles: Iterable[Role]) -> list[NDArray[np.float64]]:
        """Trained values of the group's slices of some roles, each (units, width, other axes flattened)."""

    def gains(self, group: Group) -> NDArray[np.float64] | None:
        """Mean absolute batch-norm gain of each unit, shape (units,); None without batch norm."""

    def f_statistic(self, group: Group) -> NDArray[np.float64] | None:
        """One-way ANOVA F across classes of each unit's mean activation; needs `moments`."""

    def welch_statistic(self, group: Group) -> NDArray[np.float64] | None:
        """Welch's F, which lets every class have its own variance; needs `moments`."""

    def elimination(self, group: Group, separation: float = 0.0) -> NDArray[np.float64] | None:
        """Refit error after each unit's removal in greedy order; needs `gram`.

        By `separation`, 0 to 1, errors count for how far they move what tells classes apart; needs `outcomes`
        and labels, without which all errors count alike.
        """

    def activation_weights(self, group: Group) -> list[NDArray[np.float64]] | None:
        """Absolute consumer weights times the root mean square of what they read; needs `activations`.

        One array per consumer, each (units, width, other axes flattened).
        """

    def saliency(self, group: Group) -> NDArray[np.float64] | None:
        """Mean squared first-order change of the loss without each unit; needs `gradients`."""

    def random(self, group: Group) -> NDArray[np.float64]:
        """Seeded uniform numbers, shape (units,)."""


class Criterion(Protocol):
    """Ranks the units of a group: the lowest score is cut first."""

    @property
    def needs(self) -> frozenset[Need]:
        """The evidence it looks at, beside weights; empty for a criterion that works without data."""

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        """One score per unit, finite, comparable within the group."""


@runtime_checkable
class ClassCriterion(Criterion, Protocol):
    """A criterion that compares classes and has nothing else to go by: without, a run is refused."""

    @property
    def replicated_classes(self) -> int:
        """How many classes must have two images or more for what it compares; 0 where it compares nothing."""


@runtime_checkable
class OpenCriterion(Criterion, Protocol):
    """A criterion that leaves an option to the run."""

    def candidates(self) -> Sequence[Criterion]:
        """The criterion with the option set, once for each value to compare; empty when it is set.

        Of rankings of units the first is taken unless another one loses less by more than chance; of
        rankings of connections the one that loses least.
        """


class ConnectionEvidence(Protocol):
    """What a criterion may look at to rank single connections; every array has the weight's shape.

    Weights are named as in the network. What has to be gathered from images is None where the criterion did
    not say that it needs it, and where there is none of it: no labels, no class that is shown twice, or a
    layer that reads no images.
    """

    def magnitude(self, weight: str) -> NDArray[np.float64]:
        """Absolute value of each connection's weight."""

    def f_statistic(self, weight: str) -> NDArray[np.float64] | None:
        """One-way ANOVA F across classes of what each connection adds to its output; needs `moments`."""

    def welch_statistic(self, weight: str) -> NDArray[np.float64] | None:
        """Welch's F of the same; needs `moments`."""

    def activation(self, weight: str) -> NDArray[np.float64] | None:
        """Root mean square of what each connection reads; needs `activations`."""

    def saliency(self, weight: str) -> NDArray[np.float64] | None:
        """Mean squared first-order change of the loss without each connection; needs `gradients`."""

    def random(self, weight: str) -> NDArray[np.float64]:
        """Seeded uniform numbers."""


@runtime_checkable
class ConnectionCriterion(Criterion, Protocol):
    """A criterion that can rank single connections, too: the lowest score is cut first."""

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        """One score per connection, of the weight's shape, finite, comparable between weights."""


class Exporter(Protocol):
    """Writes a captured program as a float32 file."""

    format: Format

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`; raises ModelError naming the operator the format lacks."""


class FileFormat(Protocol):
    """Reads files of one format, and writes notes into them."""

    format: Format

    def look(self, path: Path) -> Contents:
        """What the file says of itself; raises ModelError where it is damaged or of another format."""

    def note(self, source: Path, path: Path, notes: Mapping[str, str]) -> None:
        """Write `source` to `path` with these notes in place of its own, and the same network."""


class Quantizer(Protocol):
    """Makes a smaller file from a float32 file of the same format."""

    format: Format
    precision: Precision
    needs_data: bool

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`; `calibration` holds batches of network inputs, empty when data-free."""


@runtime_checkable
class CalibratedQuantizer(Quantizer, Protocol):
    """A quantizer to which ranges can be given, and operators named that it shall leave alone."""

    def operators(self, source: Path) -> Sequence[Operator]:
        """The operators that it takes to integers, in the order they run."""

    def observe(self, source: Path, calibration: Iterable[NDArray[np.float32]]) -> Mapping[str, Histogram]:
        """What every activation was seen to be while the file answered, by the tensor's name."""

    def quantize_within(
        self, source: Path, path: Path, ranges: Mapping[str, Range], floats: Collection[str] = ()
    ) -> None:
        """Write `path` with these ranges; the operators named in `floats` stay float32."""


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


class Shell(Protocol):
    """Runs commands on a device."""

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        """Run a program with its arguments, never a line that a shell takes apart; seconds.

        A program that fails is an answer; raises DeviceError where the device cannot be reached, the
        connection breaks or the time is up, and then nothing of the command runs on.
        """


class Files(Protocol):
    """Moves files to and from a device, whole or not at all, each checked by its SHA-256."""

    def push(self, source: Path, to: PurePosixPath) -> None:
        """Copy a file or a folder; an interrupted push goes on where it stopped.

        Raises DeviceError where it cannot be reached, refuses, or is full; nothing half-written lies at
        `to` then.
        """

    def pull(self, source: PurePosixPath, to: Path) -> None:
        """Copy one file from the device; raises DeviceError."""


class Link(Protocol):
    """An open connection to one device."""

    @property
    def shell(self) -> Shell:
        """Where commands run."""

    @property
    def files(self) -> Files:
        """Where files go."""

    @property
    def scratch(self) -> PurePosixPath:
        """A folder on the device that is this link's own, and gone when the link is closed."""


class Transport(Protocol):
    """A cable to one device; its address (`pi@host`, `adb:SERIAL`) fills the first field.

    It knows no model and no runtime.
    """

    def connect(self) -> AbstractContextManager[Link]:
        """The open connection; leaving it cleans up, after Ctrl-C too. Raises DeviceError."""


class Runtime(Protocol):
    """Loads files of one format on this machine."""

    @property
    def format(self) -> Format:
        """What it opens."""

    @property
    def threads(self) -> int:
        """How many it computes with."""

    def open(self, path: Path) -> Session:
        """Load a file; raises DeviceError when the runtime refuses it."""


@runtime_checkable
class SteppingRuntime(Runtime, Protocol):
    """A runtime that can show what every operator answered."""

    def steps(self, path: Path, inputs: NDArray[np.float32]) -> Sequence[Step]:
        """A file's operators in the order they run, with their answers to one input."""


@runtime_checkable
class SparseRuntime(Runtime, Protocol):
    """A runtime of which it is known what zeros among the weights are worth."""

    @property
    def skips_zeros(self) -> bool:
        """Whether its kernels skip them, and so compute faster; otherwise they are multiplied."""


__all__ = [
    "Array",
    "Artifact",
    "CalibratedQuantizer",
    "ConnectionCriterion",
    "ConnectionEvidence",
    "Criterion",
    "Dataset",
    "Evidence",
    "Exporter",
    "FileFormat",
    "Files",
    "Link",
    "Need",
    "OpenCriterion",
    "Quantizer",
    "Runtime",
    "Session",
    "Shell",
    "SparseRuntime",
    "SteppingRuntime",
    "Transport",
]

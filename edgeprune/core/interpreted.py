"""Interpreted: a session whose answers are one number per class, whatever its file answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format
from edgeprune.core.interface import Interface
from edgeprune.core.protocols import Runtime, Session


def read_by(interface: Interface, classes: int, session: Session) -> Session:
    """The session, with classes read as scores where its file answers with classes."""
    return session if interface.exact else _Reading(interface, classes, session)


@dataclass(frozen=True, slots=True)
class Reading:
    """A runtime whose sessions are read by an interface."""

    runtime: Runtime
    interface: Interface
    classes: int

    @property
    def format(self) -> Format:
        """What it opens."""
        return self.runtime.format

    @property
    def threads(self) -> int:
        """Those of the runtime."""
        return self.runtime.threads

    def open(self, path: Path) -> Session:
        """Load a file; raises DeviceError when the runtime refuses it."""
        return read_by(self.interface, self.classes, self.runtime.open(path))


@dataclass(frozen=True, slots=True)
class _Reading:
    interface: Interface
    classes: int
    session: Session

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self.session.input_shape

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.interface.read(self.session.infer(inputs), self.classes)

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        return self.session.time(inputs, warmup=warmup, runs=runs)

    def facts(self) -> Mapping[str, str]:
        return self.session.facts()

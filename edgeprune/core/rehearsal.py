"""Rehearsals: a transport that says every command it would run on a device, and runs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeprune.core.completed import Completed
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link
from edgeprune.core.units import format_bytes


@dataclass(frozen=True)
class Rehearsal:
    """Stands for the transport of an address (`--dry-run`); nothing is connected."""

    address: str
    say: Callable[[str], None]

    def connect(self) -> AbstractContextManager[Link]:
        """A link on which everything succeeds and says nothing."""
        return linked(_Shell(self))


@dataclass(frozen=True)
class _Shell:
    rehearsal: Rehearsal

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        import shlex

        notes = [f"in {cwd}"] if cwd is not None else []
        notes += [f"{format_bytes(len(stdin))} on standard input"] if stdin else []
        notes.append(f"at most {timeout:g} s")
        self.rehearsal.say(f"{self.rehearsal.address}$ {shlex.join(command)}  # {', '.join(notes)}")
        return Completed(tuple(command), 0, b"", b"", 0.0)

"""Transport `replay`: answers from a transcript what a device said once, for tests without the device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeprune.core.completed import Completed, shown
from edgeprune.core.errors import DeviceError
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link
from edgeprune.core.transcript import Exchange, Transcript


@dataclass(frozen=True)
class Replay:
    """`--at replay:FILE`: the same commands in the same order as when `--transcript FILE` was written."""

    path: Path

    def connect(self) -> AbstractContextManager[Link]:
        """A link to what was recorded."""
        return linked(_Shell(list(Transcript.load(self.path).exchanges)))


@dataclass
class _Shell:
    left: list[Exchange]

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        if not self.left and command[0] == "rm":  # the link that was recorded cleaned up unheard
            return Completed(tuple(command), 0, b"", b"", 0.0)
        known = self.left.pop(0) if self.left else None
        if known is None or known.command != tuple(command):
            goes_on = f"goes on with `{shown(known.command)}`" if known else "ends"
            raise DeviceError(
                f"the transcript {goes_on}, asked was `{shown(command)}`",
                hint="record it again with --transcript: the commands have changed",
            )
        if known.failure:
            raise DeviceError(known.failure, hint="it failed so when it was recorded")
        return known.completed()

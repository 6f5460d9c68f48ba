"""Completed: what became of a command on a device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.core.errors import DeviceError

_LAST_LINES = 5


@dataclass(frozen=True, slots=True)
class Completed:
    """One command that ended by itself, with what it said."""

    command: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")

    def require(self, doing: str, *, hint: str | None = None) -> Completed:
        """Itself where the command succeeded.

        Raises
        ------
        DeviceError
            It failed; the message begins with `doing` and has the command, its exit code and last lines.
        """
        if self.exit_code == 0:
            return self
        said = last_lines(self.stderr) or last_lines(self.stdout) or "(it said nothing)"
        raise DeviceError(
            f"{doing}: `{shown(self.command)}` ended with exit code {self.exit_code}: {said}",
            hint=hint or "try the command on the device itself",
        )


def shown(command: Sequence[str]) -> str:
    """A command as one would type it, cut where it is long, on one line."""
    line = shlex.join(command).replace("\n", "\\n")
    return line if len(line) <= 200 else f"{line[:197]}..."


def last_lines(printed: bytes) -> str:
    """The last lines of what was printed, on one line; nothing of bytes that are no text."""
    try:
        lines = [line.strip() for line in printed.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return f"({len(printed)} bytes that are no text)"
    return " | ".join(lines[-_LAST_LINES:])

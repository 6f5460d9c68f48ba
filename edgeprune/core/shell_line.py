"""The line a remote shell gets for a program with arguments: quoted, and with its process id told first.

Cables carry one line of text that the login shell takes apart, and say nothing of processes. So the line
starts a POSIX shell of its own, whatever the login shell is, which tells its process id before it becomes
the program: whoever stops waiting can then end it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

_START = 'echo "edgeprune-process:$$"; '
_MARK = re.compile(rb"^edgeprune-process:(\d+)\r?\n", re.M)


def shell_line(command: Sequence[str], cwd: PurePosixPath | None) -> str:
    """The line that runs `command`; nothing in it is taken apart but by quotes."""
    change = 'cd -- "$1" || exit 126; shift; ' if cwd is not None else ""
    place = [str(cwd)] if cwd is not None else []
    return shlex.join(["exec", "sh", "-c", f'{_START}{change}exec "$@"', "sh", *place, *command])


def told(stdout: bytes) -> tuple[int | None, bytes]:
    """The process id that the line told, and what the program printed after it."""
    found = _MARK.search(stdout)
    return (int(found[1]), stdout[found.end() :]) if found else (None, stdout)


def ending(process: int) -> list[str]:
    """The command that ends a program and all that it started: politely, and two seconds later at once."""
    # Only this spelling of a process group is understood by dash, too.
    script = (
        'kill -s TERM -- "-$1" 2>/dev/null || kill -s TERM "$1" 2>/dev/null || exit 0; sleep 2; '
        'kill -s KILL -- "-$1" 2>/dev/null || kill -s KILL "$1" 2>/dev/null; exit 0'
    )
    return ["sh", "-c", script, "sh", str(process)]

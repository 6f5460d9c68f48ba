"""Transport `local`: this machine, as if it were a device."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeprune.core.completed import Completed, last_lines, shown
from edgeprune.core.errors import DeviceError
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link

_GRACE_S = 2.0


@dataclass(frozen=True)
class Local:
    """`--at local`."""

    def connect(self) -> AbstractContextManager[Link]:
        """A link to this machine."""
        return linked(_Shell())


class _Shell:
    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        started = time.monotonic()
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, start_new_session=True
            )
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            # As a shell says it: 127 not found, 126 found and not to be run.
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Completed(tuple(command), code, b"", f"{error}\n".encode(), time.monotonic() - started)
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as error:
            out, err = _end(process)
            raise DeviceError(
                f"local: `{shown(command)}` was not done after {timeout:g} s{_said(err or out)}",
                hint="is the machine busy? the command was ended",
            ) from error
        except BaseException:
            _end(process)
            raise
        return Completed(tuple(command), process.returncode, out, err, time.monotonic() - started)


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End a command and all that it started: politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            return process.communicate(timeout=_GRACE_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue
    return process.communicate()


def _said(printed: bytes) -> str:
    lines = last_lines(printed)
    return f"; it said: {lines}" if lines else ""

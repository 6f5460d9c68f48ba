"""Transport `emulated`: a board that only this machine's kernel and qemu play, to try a device out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeprune.core.board import find_board
from edgeprune.core.completed import Completed, last_lines, shown
from edgeprune.core.errors import DeviceError
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link
from edgeprune.core.shell_line import ending, shell_line, told
from edgeprune.plugins.transports.emulated.machine import Machine, running

_END_S = 10.0


@dataclass(frozen=True)
class Emulated:
    """`--at emulated:rpi4`; `emulated:rpi4?disk=FOLDER` keeps what the board writes.

    Boards: rpi-zero-2w, rpi3, rpi4, rpi5, phone (its processor; the system is Debian on all). Programs really
    run, on the instructions of that core; how long they take says nothing about the board.
    """

    board: str
    disk: Path | None = None

    def connect(self) -> AbstractContextManager[Link]:
        """A link to a board that runs as long as the link is open."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Link]:
        disk = self.disk.expanduser() if self.disk else None
        with running(find_board(self.board), disk) as machine, linked(_Shell(self.board, machine)) as link:
            yield link


class _Shell:
    """Runs programs in the board's namespaces."""

    def __init__(self, name: str, machine: Machine) -> None:
        self._name, self._machine = name, machine

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        started = time.monotonic()
        line = self._machine.enter(["/bin/sh", "-c", shell_line(command, cwd)])
        pipe = subprocess.PIPE
        process = subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as error:
            said = self._end(process, error.stdout or b"")
            raise DeviceError(
                f"emulated {self._name}: `{shown(command)}` was not done after {timeout:g} s{said}",
                hint="emulated programs take a hundred times as long; the command was ended",
            ) from error
        except BaseException:
            self._end(process, b"")
            raise
        return Completed(tuple(command), process.returncode, told(out)[1], err, time.monotonic() - started)

    def _end(self, process: subprocess.Popen[bytes], printed: bytes) -> str:
        """End a program and all that it started; the last lines it printed."""
        number, rest = told(printed)
        if number is not None:
            with suppress(subprocess.TimeoutExpired):
                kill = self._machine.enter(ending(number), "/")
                subprocess.run(kill, capture_output=True, timeout=_END_S, check=False)
        process.kill()
        _, err = process.communicate()
        lines = last_lines(err) or last_lines(rest)
        return f"; it said: {lines}" if lines else ""

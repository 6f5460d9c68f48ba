"""Transcripts: every command of a link with its answer, written down once and answered from again.

A tester without the device replays what it said. Standard input is told by its hash alone, and commands carry
no secrets: keys stay with ssh and adb, which are not recorded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from edgeprune.core.completed import Completed
from edgeprune.core.document import Document
from edgeprune.core.errors import DeviceError
from edgeprune.core.link import MAKE_SCRATCH, ShellLink
from edgeprune.core.protocols import Link, Shell, Transport
from edgeprune.core.shell_files import ShellFiles


class Exchange(Document):
    """One command and its answer; bytes in base64 where they are no text."""

    command: tuple[str, ...]
    cwd: str | None
    stdin_sha256: str
    exit_code: int | None
    stdout: str
    stderr: str
    binary: bool
    seconds: float
    failure: str = ""

    @classmethod
    def of(
        cls, done: Completed, *, stdin: bytes = b"", cwd: PurePosixPath | None = None, failure: str = ""
    ) -> Exchange:
        """What is written down of a command."""
        try:
            out, err, binary = done.stdout.decode(), done.stderr.decode(), False
        except UnicodeDecodeError:
            out, err = (base64.b64encode(part).decode() for part in (done.stdout, done.stderr))
            binary = True
        return cls(
            command=done.command,
            cwd=str(cwd) if cwd is not None else None,
            stdin_sha256=hashlib.sha256(stdin).hexdigest() if stdin else "",
            exit_code=None if failure else done.exit_code,
            stdout=out,
            stderr=err,
            binary=binary,
            seconds=round(done.seconds, 6),
            failure=failure,
        )

    def completed(self) -> Completed:
        """The answer as it was given."""
        out, err = (
            base64.b64decode(text) if self.binary else text.encode() for text in (self.stdout, self.stderr)
        )
        return Completed(self.command, self.exit_code or 0, out, err, self.seconds)


class Transcript(Document):
    """Everything that was said on a link, in order."""

    kind: Literal["transcript/1"] = "transcript/1"
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class Recorder:
    """A transport whose conversation is written to a file when its link is closed, however that ends."""

    transport: Transport
    path: Path

    def connect(self) -> AbstractContextManager[Link]:
        """The real link, listened to."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Link]:
        heard: list[Exchange] = []
        try:
            with self.transport.connect() as link:
                shell = _Listening(link.shell, heard)
                made = Completed(MAKE_SCRATCH, 0, f"{link.scratch}\n".encode(), b"", 0.0)
                heard.append(Exchange.of(made))
                yield ShellLink(shell, ShellFiles(shell), link.scratch)
        finally:
            Transcript(exchanges=tuple(heard)).save(self.path)


@dataclass(frozen=True)
class _Listening:
    shell: Shell
    heard: list[Exchange]

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        try:
            done = self.shell.run(command, timeout=timeout, stdin=stdin, cwd=cwd)
        except DeviceError as error:
            failed = Completed(tuple(command), -1, b"", b"", 0.0)
            self.heard.append(Exchange.of(failed, stdin=stdin, cwd=cwd, failure=error.message))
            raise
        self.heard.append(Exchange.of(done, stdin=stdin, cwd=cwd))
        return done

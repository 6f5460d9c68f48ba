"""An emulated Raspberry Pi behind a real sshd: whatever is asked of it runs on aarch64, as user pi."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boards import Board, sshd

from edgeprune.core.board import find_board
from edgeprune.plugins.transports.emulated.machine import running

# sshd hands every request to this: a command, the file server, or nothing, which means a login.
ENTER = """#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
  internal-sftp*) command="exec /usr/lib/openssh/sftp-server" ;;
  "") command="exec bash -l" ;;
  *) command=$SSH_ORIGINAL_COMMAND ;;
esac
exec {inside} /bin/sh -c "$command"
"""


@contextmanager
def emulated_pi(folder: Path, name: str = "rpi4") -> Iterator[Board]:
    """A board that keeps what is written to it as long as this lasts."""
    with running(find_board(name)) as machine:
        enter = folder / "enter"
        enter.write_text(ENTER.format(inside=shlex.join(machine.enter([]))))
        enter.chmod(0o755)
        with sshd(folder, f"ForceCommand {enter}\nSetEnv PATH={os.environ['PATH']}\n") as board:
            yield board

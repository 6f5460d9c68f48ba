"""A link made of a shell alone: files move through it, and a scratch folder lives as long as it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Files, Link, Shell
from edgeprune.core.shell_files import ShellFiles

# Android has no /tmp; on boards /tmp may be memory, which is what is measured.
_MAKE = """for folder in /data/local/tmp /var/tmp "${TMPDIR:-/tmp}"; do
  if [ -d "$folder" ] && [ -w "$folder" ]; then umask 077; exec mktemp -d "$folder/edgeprune-XXXXXXXX"; fi
done; echo "no folder for temporary files can be written" >&2; exit 1"""
MAKE_SCRATCH = ("sh", "-c", _MAKE)
"""The first command of every link; its answer is the scratch folder."""
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ShellLink:
    """Shell, files and scratch folder of one device."""

    shell: Shell
    files: Files
    scratch: PurePosixPath


@contextmanager
def linked(shell: Shell) -> Iterator[Link]:
    """A link over an open shell; its scratch folder goes when it is left, whatever happened.

    Raises
    ------
    DeviceError
        There is no place for a scratch folder, or it could not be removed.
    """
    made = shell.run(MAKE_SCRATCH, timeout=_SECONDS).require("no scratch folder")
    scratch = PurePosixPath(made.text().strip() or "/scratch")
    remove = ["rm", "-rf", "--", str(scratch)]
    try:
        yield ShellLink(shell, ShellFiles(shell), scratch)
    except BaseException:
        # What went wrong first is what the user should read; a device that is gone keeps its folder.
        with suppress(DeviceError):
            shell.run(remove, timeout=_SECONDS)
        raise
    shell.run(remove, timeout=_SECONDS).require(f"{scratch} stays on the device")

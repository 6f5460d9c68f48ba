"""Machine: namespaces in which this kernel runs a board's programs, and the way into them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.board import Board, write_board
from edgeprune.core.errors import DeviceError
from edgeprune.core.qemu import find_static_qemu
from edgeprune.plugins.transports.emulated.root import HOME, USER, kept_root

_START = Path(__file__).with_name("start.sh")
_NEEDS = (
    "it needs Linux 6.7 or newer with user namespaces (`unshare --user --map-root-user true`) and a /proc "
    "that no container hides; `edgeprune verify --on` works without"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A board that is running."""

    process: int
    root: Path
    processor: str

    def enter(self, command: Sequence[str], cwd: str = HOME) -> list[str]:
        """The command line of this machine that runs a program of the board, as the board's user."""
        environment = {
            "HOME": HOME,
            "USER": USER,
            "LOGNAME": USER,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "QEMU_CPU": self.processor,
        }
        into = [
            "nsenter",
            f"--target={self.process}",
            "--user",
            "--mount",
            "--pid",
            "--uts",
            "--preserve-credentials",
        ]
        user = [
            "unshare",
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            f"--root={self.root}",
            f"--wd={cwd}",
        ]
        variables = [f"{name}={value}" for name, value in environment.items()]
        # A session of its own, so that the program can be ended with all that it started.
        return [*into, "setsid", "--wait", *user, "/usr/bin/env", "-i", *variables, *command]


@contextmanager
def running(board: Board, disk: Path | None = None) -> Iterator[Machine]:
    """A board that runs until this is left; what it wrote stays where a folder for its disk is given.

    Raises
    ------
    DeviceError
        This machine lacks qemu, or its kernel lets nobody make such namespaces.
    RequestError
        The packages of its file system cannot be had.
    """
    qemu = find_static_qemu()
    missing = next((tool for tool in ("unshare", "nsenter", "mount") if not shutil.which(tool)), None)
    if missing:
        raise DeviceError(f"boards cannot be emulated: {missing} is not on this machine", hint=_NEEDS)
    root = kept_root()
    with TemporaryDirectory(prefix="edgeprune-board-") as folder:
        place = disk or Path(folder) / "disk"
        for name in ("upper", "work", "merged"):
            (place / name).mkdir(parents=True, exist_ok=True)
        write_board(board, Path(folder) / "says")
        process = _start(root, place.resolve(), Path(folder) / "says", qemu.path, board)
        try:
            yield Machine(_inside(process), place.resolve() / "merged", board.processor)
        finally:
            process.kill()
            process.communicate()
            _open_up(place)


def _start(root: Path, disk: Path, says: Path, qemu: str, board: Board) -> subprocess.Popen[bytes]:
    command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
    command += ["sh", str(_START), *map(str, (root, disk, says, qemu, _host_name(board)))]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    assert process.stdout is not None, "it is a pipe"
    if process.stdout.readline() != b"ready\n":
        process.kill()
        said = process.communicate()[1].decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"{board.name} cannot be emulated in namespaces: {said[-1] if said else 'unshare failed'}",
            hint=_NEEDS,
        )
    return process


def _inside(process: subprocess.Popen[bytes]) -> int:
    """The first process inside: the only child of `unshare`."""
    pid = process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _host_name(board: Board) -> str:
    return "raspberrypi" if board.name.startswith("rpi") else board.name


def _open_up(disk: Path) -> None:
    """Overlayfs leaves its work folder closed to all, which would stop whoever removes the disk."""
    for folder in (disk / "work").iterdir():
        folder.chmod(0o700)

"""Devices that go away and come back: a real sshd on loopback, and the emulated phone's real adbd."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from boards import CACHE, SSHD, Board, Phone, listening, unpack_packages

from edgeprune.core.address import transport_at
from edgeprune.core.errors import DeviceError

OLD_RELEASE = "bullseye"
OLD_PACKAGES = """libc6 libc-bin libstdc++6 libgcc-s1 libacl1 libattr1 libselinux1 libpcre2-8-0 libgmp10
libtinfo6 libcrypt1 libexpat1 zlib1g libprocps8 libsystemd0 dash bash coreutils tar sed grep
findutils procps mawk python3 python3-minimal libpython3-stdlib python3.9 python3.9-minimal
libpython3.9-minimal libpython3.9-stdlib""".split()


class Device(Protocol):
    """What stands behind an address, and how it is disturbed."""

    python: str

    @property
    def address(self) -> str:
        """As a user types it."""

    def inside(self, folder: Path) -> PurePosixPath:
        """A folder of this machine as the device calls it."""

    def cut(self) -> None:
        """The connection breaks, and can be made anew at once."""

    def stop(self) -> None:
        """The device goes away."""

    def start(self) -> None:
        """It is there again."""


@dataclass
class SshDevice:
    """A device that is this machine, behind an sshd, which is killed and started."""

    board: Board
    python: str = sys.executable

    @property
    def address(self) -> str:
        """As a user types it."""
        return self.board.address

    def inside(self, folder: Path) -> PurePosixPath:
        """The folder as the device calls it."""
        return PurePosixPath(folder)

    def cut(self) -> None:
        """End every session."""
        self.board.cut_connections()

    def stop(self) -> None:
        """Kill the server and every session."""
        self.cut()
        self.board.process.kill()
        self.board.process.wait()

    def start(self) -> None:
        """Start the server where it is not running."""
        if self.board.process.poll() is None:
            return
        command = [str(SSHD), "-D", "-e", "-f", str(self.board.folder / "sshd.conf")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.board = dataclasses.replace(self.board, process=process)
        listening(self.board.port, process)


@dataclass
class PhoneDevice:
    """The emulated phone behind its adbd, which the phone starts again whenever it is killed."""

    phone: Phone
    python: str = ""

    @property
    def address(self) -> str:
        """As a user types it."""
        return self.phone.address

    @property
    def root(self) -> Path:
        """Its file system, as this machine sees it."""
        return self.phone.folder / "root"

    def inside(self, folder: Path) -> PurePosixPath:
        """The folder as the device calls it."""
        return PurePosixPath("/") / folder.relative_to(self.root)

    def cut(self) -> None:
        """Kill adbd, which is started again at once."""
        self.phone.cut_connections()

    def stop(self) -> None:
        """Kill adbd, and let it not be started again."""
        self.phone.stop()

    def start(self) -> None:
        """Let adbd be started, and wait for it."""
        self.phone.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with transport_at(self.address).connect():
                    return
            except DeviceError:
                time.sleep(0.2)
        raise RuntimeError("the phone did not come back")


@dataclass(frozen=True)
class OldBoard:
    """An emulated Raspberry Pi whose C library, shell and Python are those of Debian 11 (glibc 2.31)."""

    disk: Path
    python: str = ""

    @classmethod
    def made_in(cls, disk: Path) -> OldBoard:
        """Lay Debian 11's files over those of the board."""
        root = CACHE / OLD_RELEASE
        if not (root / "usr/bin/python3.9").exists():
            sources = Path("/etc/apt/sources.list.d/debian.sources").read_text()
            unpack_packages(root, sources, [OLD_RELEASE], OLD_PACKAGES, "arm64")
        shutil.copytree(root, disk / "upper", symlinks=True)
        return cls(disk)

    @property
    def address(self) -> str:
        """As a user types it."""
        return f"emulated:rpi4?disk={self.disk}"

    @property
    def root(self) -> Path:
        """What it wrote, as this machine sees it."""
        return self.disk / "upper"

    def inside(self, folder: Path) -> PurePosixPath:
        """The folder as the device calls it."""
        return PurePosixPath("/") / folder.relative_to(self.root)

    def cut(self) -> None:
        """It has no cable."""

    def stop(self) -> None:
        """It runs only while it is asked."""

    def start(self) -> None:
        """It runs only while it is asked."""

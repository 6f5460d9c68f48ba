"""qemu-user on this machine: which emulators there are, and what each of them can do."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from edgeprune.core.errors import DeviceError

HOW_TO_GET = "on Debian or Ubuntu: apt-get install qemu-user qemu-user-static"


@dataclass(frozen=True, slots=True)
class Qemu:
    """One emulator of a 64-bit Arm processor for programs of Linux."""

    path: str
    version: str
    plugins: bool
    """Whether it loads plug-ins, without which instructions are not counted."""


def find_qemu() -> Qemu:
    """The emulator to run programs with: one that counts, where there is one.

    Raises
    ------
    DeviceError
        There is none; the hint says how to get one.
    """
    found = [qemu for name in ("qemu-aarch64", "qemu-aarch64-static") if (qemu := _look(name))]
    if not found:
        raise DeviceError("boards cannot be emulated: qemu-aarch64 is not on this machine", hint=HOW_TO_GET)
    return next((qemu for qemu in found if qemu.plugins), found[0])


def find_static_qemu() -> Qemu:
    """The emulator that needs no library, so that the kernel can start it inside of a board.

    Raises
    ------
    DeviceError
        There is none; the hint says how to get one.
    """
    found = _look("qemu-aarch64-static")
    if found is None:
        raise DeviceError(
            "boards cannot be emulated: qemu-aarch64-static is not on this machine", hint=HOW_TO_GET
        )
    return found


@cache
def _look(name: str) -> Qemu | None:
    path = shutil.which(name)
    if path is None:
        return None
    version = re.search(r"version (\S+)", _said(path, "--version"))
    return Qemu(path, version[1] if version else "", "-plugin " in _said(path, "-help"))


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

"""Wheels of other architectures: fetched by this machine's pip, checked against the lock, unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.capsule import Arch
from edgeprune.core.errors import RequestError
from edgeprune.core.files import sha256
from edgeprune.core.packages.lock import Pin
from edgeprune.core.packages.store import keep, kept, missing

_MACHINES: dict[Arch, str] = {"aarch64": "aarch64", "armhf": "armv7l", "x86_64": "x86_64"}
# What is inside decides on which glibc a wheel runs, not its tag (see core/glibc.py), so all tags will do.
_GLIBC_TAGS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 37)))
_TIMEOUT_S = 600


def fetch_wheels(pins: Sequence[Pin], arch: Arch, python: str) -> None:
    """Bring into the store what is not there yet.

    Raises
    ------
    RequestError
        No network, no such version any more, or other bytes than the lock says.
    """
    wanted = missing(pins)
    if not wanted:
        return
    with TemporaryDirectory(prefix="edgeprune-wheels-") as folder:
        _download([f"{pin.name}=={pin.version}" for pin in wanted], arch, python, Path(folder))
        for pin in wanted:
            keep(Path(folder) / pin.file, pin)


def pin_wheels(requirements: Sequence[str], arch: Arch, python: str) -> tuple[Pin, ...]:
    """The wheels that pip chooses for these requirements today; they are in the store then."""
    with TemporaryDirectory(prefix="edgeprune-wheels-") as folder:
        _download(requirements, arch, python, Path(folder))
        pins = []
        for path in sorted(Path(folder).glob("*.whl")):
            name, version, _ = path.name.split("-", 2)
            pin = Pin(name=name.replace("_", "-"), version=version, file=path.name, sha256=sha256(path))
            keep(path, pin)
            pins.append(pin)
    return tuple(pins)


def unpack_wheels(pins: Sequence[Pin], folder: Path) -> None:
    """Lay the contents of kept wheels out in a folder, as in site-packages."""
    for pin in pins:
        with zipfile.ZipFile(kept(pin)) as wheel:
            wheel.extractall(folder)


def _download(requirements: Sequence[str], arch: Arch, python: str, folder: Path) -> None:
    platforms = [f"--platform={tag}_{_MACHINES[arch]}" for tag in _GLIBC_TAGS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", f"--abi=cp{python.replace('.', '')}"]
    # `py3-none` wheels have no such tag, and pure ones no platform.
    command += ["--abi=none", "--platform=any", *platforms, "--dest", str(folder), *requirements]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            done.stderr.strip()
        ]
        raise RequestError(
            f"pip cannot fetch {', '.join(requirements)} for {arch}: {errors[-1].removeprefix('ERROR: ')}",
            hint="connect this machine to its package index once; where a version is gone, "
            "`edgeprune capsule lock` pins what is there now",
        )

"""Debian packages of other architectures: fetched by apt-get with a state of its own, unpacked by dpkg-deb.

The machine's own package state is neither read nor changed; its sources and keys are used as they are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.capsule import Arch
from edgeprune.core.errors import RequestError
from edgeprune.core.files import sha256
from edgeprune.core.packages.lock import Pin
from edgeprune.core.packages.store import keep, kept, missing

_DEBIAN: dict[Arch, str] = {"aarch64": "arm64", "armhf": "armhf", "x86_64": "amd64"}
_TIMEOUT_S = 600


def fetch_debian(pins: Sequence[Pin], arch: Arch) -> None:
    """Bring into the store what is not there yet.

    Raises
    ------
    RequestError
        No apt-get, no network, no such version any more, or other bytes than the lock says.
    """
    wanted = missing(pins)
    if not wanted:
        return
    with _apt(arch) as apt:
        apt.download([f"{pin.name}={pin.version}" for pin in wanted])
        for pin in wanted:
            keep(apt.folder / pin.file, pin)


def pin_debian(names: Sequence[str], arch: Arch, *, with_dependencies: bool) -> tuple[Pin, ...]:
    """What Debian offers under these names today; the packages are in the store then."""
    with _apt(arch) as apt:
        apt.download(apt.closure(names) if with_dependencies else list(names))
        pins = []
        for path in sorted(apt.folder.glob("*.deb")):
            name, version = _field(path, "Package"), _field(path, "Version")
            pin = Pin(name=name, version=version, file=path.name, sha256=sha256(path))
            keep(path, pin)
            pins.append(pin)
    return tuple(pins)


def unpack_debian(pins: Sequence[Pin], folder: Path) -> None:
    """Lay the contents of kept packages out in a folder, as below `/`."""
    folder.mkdir(parents=True, exist_ok=True)
    for pin in pins:
        _run([_tool("dpkg-deb"), "--extract", str(kept(pin)), str(folder)], pin.file)


@contextmanager
def _apt(arch: Arch) -> Iterator[_Apt]:
    with TemporaryDirectory(prefix="edgeprune-apt-") as folder:
        yield _Apt(Path(folder), _DEBIAN[arch])


class _Apt:
    """apt-get with state, lists and cache in one scratch folder; packages land in `folder`."""

    def __init__(self, scratch: Path, architecture: str) -> None:
        self.folder = scratch / "packages"
        for name in ("lists/partial", "archives/partial", "packages"):
            (scratch / name).mkdir(parents=True)
        (scratch / "status").touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # who else could not write into the scratch folder
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
            "Dir::State::lists": scratch / "lists",
            "Dir::State::status": scratch / "status",
            "Dir::Cache": scratch,
            "Dir::Cache::archives": scratch / "archives",
        }
        self._command = [
            _tool("apt-get"),
            "--quiet",
            *(f"-o{key}={value}" for key, value in settings.items()),
        ]
        # A source that fails (a mirror in the middle of its update) matters only if a package comes from it.
        subprocess.run([*self._command, "update"], capture_output=True, timeout=_TIMEOUT_S, check=False)

    def closure(self, names: Sequence[str]) -> list[str]:
        """`name=version` of these packages and all they depend on."""
        said = _run([*self._command, "--simulate", "install", *names], ", ".join(names))
        found = re.findall(r"^Inst (\S+) \((\S+) ", said, re.M)
        return [f"{name.partition(':')[0]}={version}" for name, version in found]

    def download(self, packages: Sequence[str]) -> None:
        _run([*self._command, "download", *packages], f"{len(packages)} packages", self.folder)


def _run(command: Sequence[str], what: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr.strip()]
        raise RequestError(
            f"{Path(command[0]).name} cannot fetch or unpack {what}: {lines[0].removeprefix('E: ')}",
            hint="connect this machine to its Debian 12 mirror once; where Debian has moved on, "
            "`edgeprune capsule lock` pins what is there now",
        )
    return done.stdout


def _field(path: Path, name: str) -> str:
    return _run([_tool("dpkg-deb"), "--field", str(path), name], path.name).strip()


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RequestError(
            f"{name} is not on this machine: capsules and boards are made from Debian packages",
            hint="build them on Debian 12 or a relative (a container will do) and copy the folder",
        )
    return found

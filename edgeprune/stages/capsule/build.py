"""Build: unpack pinned packages, keep what a runtime needs, and write the folder down with its hash."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.capsule import (
    CAPSULE_NAME,
    Arch,
    Capsule,
    CapsulePackage,
    CapsuleRuntime,
    check_pair,
)
from edgeprune.core.errors import StorageError
from edgeprune.core.files import storage_errors, written_whole
from edgeprune.core.packages.debian import fetch_debian, unpack_debian
from edgeprune.core.packages.lock import PackageLock, Pin
from edgeprune.core.packages.store import cache_folder
from edgeprune.core.packages.wheels import fetch_wheels, unpack_wheels
from edgeprune.core.progress import Progress, Silent
from edgeprune.stages.capsule.launcher import write_launcher
from edgeprune.stages.capsule.libraries import add_libraries
from edgeprune.stages.capsule.tarball import tar_digest
from edgeprune.stages.capsule.trim import copy_runtime, copy_standard_library


def build(
    runtime: CapsuleRuntime, arch: Arch, lock: PackageLock, out: Path, progress: Progress | None = None
) -> Capsule:
    """Write a capsule to `out`, which must not exist or be empty.

    Raises
    ------
    RequestError
        There is no such capsule, or a package cannot be had.
    StorageError
        `out` holds something already or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists", hint="delete it, or name another folder with -o")
    source = kept_capsule(runtime, arch, lock, progress)
    with storage_errors(out):
        shutil.copytree(source, out, dirs_exist_ok=True)
    return Capsule.load(out / CAPSULE_NAME)


def kept_capsule(
    runtime: CapsuleRuntime, arch: Arch, lock: PackageLock, progress: Progress | None = None
) -> Path:
    """The folder of a capsule in the cache; made when it is not there yet."""
    check_pair(runtime, arch)
    debian, wheels = lock.debian[arch]["capsule"], lock.wheels[arch][runtime]
    folder = cache_folder() / "capsules" / f"{runtime}-{arch}-{_key([*debian, *wheels])}"
    if folder.is_dir():
        return folder
    progress = progress or Silent()
    progress.start(f"capsule {runtime} {arch}", 3)
    fetch_debian(debian, arch)
    progress.advance()
    fetch_wheels(wheels, arch, lock.python)
    progress.advance()
    with written_whole(folder) as scratch, TemporaryDirectory(prefix="edgeprune-capsule-") as room:
        system, site = Path(room) / "system", Path(room) / "site"
        unpack_debian(debian, system)
        unpack_wheels(wheels, site)
        _assemble(scratch, system, site, lock.python)
        _describe(scratch, runtime, arch, lock.python, [*debian, *wheels])
    progress.finish()
    return folder


def _assemble(folder: Path, system: Path, site: Path, python: str) -> None:
    copy_standard_library(system, folder, python)
    copy_runtime(site, folder / "site")
    # Where numpy is a Debian package it lies beside the system's own modules.
    copy_runtime(system / "usr/lib/python3/dist-packages", folder / "site")
    write_launcher(folder, add_libraries(folder, system), python)


def _describe(folder: Path, runtime: CapsuleRuntime, arch: Arch, python: str, pins: Sequence[Pin]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    capsule = Capsule(
        runtime=runtime,
        arch=arch,
        python=python,
        packages=tuple(CapsulePackage(name=pin.name, version=pin.version, sha256=pin.sha256) for pin in pins),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        sha256=tar_digest(folder),
    )
    capsule.save(folder / CAPSULE_NAME)


def _key(pins: Sequence[Pin]) -> str:
    """Changes with the packages, and with the code that puts a capsule together."""
    digest = hashlib.sha256("".join(pin.sha256 for pin in pins).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

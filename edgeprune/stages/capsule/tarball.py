"""Tarball: a folder as a tar that is the same wherever and whenever it is made."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any, cast


def tar_digest(folder: Path) -> str:
    """The SHA-256 of a folder's tar: paths sorted, times zero, owner root, modes 755 or 644."""
    sink = _Digest()
    with tarfile.open(fileobj=cast(Any, sink), mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
            tar_entry(tar, path, path.relative_to(folder).as_posix())
    return sink.hexdigest()


def tar_entry(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add one file or folder under a name."""
    entry = tarfile.TarInfo(name)
    if path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        return
    data = path.read_bytes()
    entry.size, entry.mode = len(data), 0o755 if path.stat().st_mode & 0o100 else 0o644
    tar.addfile(entry, io.BytesIO(data))


class _Digest:
    """A file that only counts: what is written goes into the hash."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

"""Files that are either whole or absent: written aside, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from edgeprune.core.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path` (same suffix); rename it into place only on success.

    The scratch file lives in a hidden folder of its own, so that writers which add side files
    (external data, caches) leave nothing behind either.

    Raises
    ------
    StorageError
        The disk is full or the folder cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        with storage_errors(path):
            yield scratch / path.name
            (scratch / path.name).replace(path)
    finally:
        shutil.rmtree(scratch)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate the operating system's refusals to write into a StorageError naming `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"{path}: the disk is full",
                hint="free some space or choose another folder with --out; finished stages are kept",
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR}:
            reason = os.strerror(error.errno).lower()
            raise StorageError(
                f"{path}: cannot be written ({reason})", hint="choose another folder with --out"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def deflated_bytes(path: Path) -> int:
    """How many bytes a file has after zlib at level 9, as downloads and firmware images pack it."""
    packer = zlib.compressobj(9)
    with path.open("rb") as file:
        size = sum(len(packer.compress(block)) for block in iter(lambda: file.read(1 << 20), b""))
    return size + len(packer.flush())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Packed: formats of several files as one, so that a deliverable has one name, one size and one hash."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgeprune.core.errors import DeviceError

_STAMP = (1980, 1, 1, 0, 0, 0)


def pack(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip archive that stores the files as they are, the same bytes for the same files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), content)


def unpack(path: Path, endings: tuple[str, ...]) -> tuple[bytes, ...]:
    """The one file with each ending.

    Raises
    ------
    DeviceError
        It is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [[name for name in archive.namelist() if name.endswith(ending)] for ending in endings]
            if all(len(names) == 1 for names in found):
                return tuple(archive.read(name) for (name,) in found)
    except zipfile.BadZipFile as error:
        raise DeviceError(f"{path.name}: not a zip archive") from error
    raise DeviceError(f"{path.name}: it must hold one file of each of {', '.join(endings)}")

"""Look into: what a deliverable file says of itself, by the plug-in that reads its format."""

from __future__ import annotations

from pathlib import Path

from edgeprune.core.contents import Contents
from edgeprune.core.errors import RequestError
from edgeprune.core.protocols import FileFormat
from edgeprune.core.registry import build


def look_into(path: Path) -> Contents:
    """Inputs, outputs, operators, weights and notes of one file.

    Raises
    ------
    RequestError
        There is no such file.
    ModelError
        It is damaged, or of another format than its name says.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such file", hint="check the path of the file")
    format: FileFormat = build("formats", path.suffix.removeprefix("."))
    return format.look(path)

"""Shelved versions: what a version on a device says of itself, believed where its name vouches for it."""

from __future__ import annotations

import hashlib
import json

from edgeprune.core.bundle import ID_LENGTH, MANIFEST, Bundle
from edgeprune.core.errors import DeviceError, DocumentError
from edgeprune.core.shelf import Shelf

_SECONDS = 60.0
_MOST = 16 << 20


def shelved_bundle(shelf: Shelf, name: str) -> Bundle:
    """The manifest of a version, whose hash is the version's name.

    Raises
    ------
    DeviceError
        It cannot be read, or was changed.
    """
    path = shelf.version_folder(name) / MANIFEST
    command = ["sh", "-c", 'head -c "$2" < "$1"', "sh", str(path), str(_MOST)]
    read = shelf.shell.run(command, timeout=_SECONDS)
    broken = f"{shelf.where}: version {name} is damaged"
    hint = "ship its bundle again, or `edgeprune rollback` to another version"
    if read.exit_code:
        raise DeviceError(f"{broken} (no {MANIFEST})", hint=hint)
    if hashlib.sha256(read.stdout).hexdigest()[:ID_LENGTH] != name[:ID_LENGTH]:
        raise DeviceError(f"{broken} ({MANIFEST} was changed)", hint=hint)
    try:
        return Bundle.parse(json.loads(read.stdout), source=f"{shelf.where}: {MANIFEST} of version {name}")
    except (ValueError, RecursionError, DocumentError) as error:
        raise DeviceError(f"{broken} ({MANIFEST} is of another version of edgeprune)", hint=hint) from error


def listed_files(bundle: Bundle) -> list[tuple[str, str]]:
    """Every file of a version with its SHA-256, the manifest included."""
    manifest = (MANIFEST, hashlib.sha256(bundle.manifest()).hexdigest())
    return [manifest, *((one.path, one.sha256) for one in bundle.entries)]


def require_intact(shelf: Shelf, name: str, bundle: Bundle) -> None:
    """Refuse a version of which a file is not as it was shipped; raises DeviceError."""
    if not shelf.intact(shelf.version_folder(name), listed_files(bundle)):
        raise DeviceError(
            f"{shelf.where}: version {name} is damaged (a file's SHA-256 differs)",
            hint="ship its bundle again, or `edgeprune rollback` to another version",
        )

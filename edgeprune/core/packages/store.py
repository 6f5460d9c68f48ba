"""The store: downloaded package files by their hash, so that nothing is fetched twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from edgeprune.core.errors import RequestError
from edgeprune.core.files import sha256, written_whole
from edgeprune.core.packages.lock import Pin


def cache_folder() -> Path:
    """Where everything lies that can be made again: `$XDG_CACHE_HOME/edgeprune` or `~/.cache/edgeprune`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprune"


def kept(pin: Pin) -> Path:
    """Where the package's file lies once it was fetched; its bytes were checked when it was kept."""
    return cache_folder() / "packages" / pin.sha256 / pin.file


def missing(pins: Iterable[Pin]) -> list[Pin]:
    """The packages that have to be fetched."""
    return [pin for pin in pins if not kept(pin).is_file()]


def keep(path: Path, pin: Pin) -> None:
    """Move a fetched file into the store, if it is the one that was meant.

    Raises
    ------
    RequestError
        Its bytes are not those of the lock.
    """
    found = sha256(path)
    if found != pin.sha256:
        raise RequestError(
            f"{pin.file}: its SHA-256 is {found}, the lock says {pin.sha256}",
            hint="a package was replaced or damaged on the way; look into it, then `edgeprune capsule lock`",
        )
    with written_whole(kept(pin)) as scratch:
        shutil.move(path, scratch)

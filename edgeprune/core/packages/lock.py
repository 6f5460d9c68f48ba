"""The lock: name, version and SHA-256 of every foreign package that goes into a capsule or a board."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeprune.core.capsule import Arch, CapsuleRuntime
from edgeprune.core.document import Document
from edgeprune.core.glibc import GlibcNeeds

Collection = Literal["capsule", "board"]
"""What Debian packages are for: Python and its libraries, or a whole board with shell and tools."""
LOCK_NAME = "capsule.lock.json"


class Pin(Document):
    """One package file: its bytes are these, or it is not the one that was meant."""

    name: str
    version: str
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class PackageLock(Document):
    """Everything that is downloaded, per architecture."""

    kind: Literal["capsule-lock/1"] = "capsule-lock/1"
    python: str = Field(description="the interpreter that capsules carry")
    debian: dict[Arch, dict[Collection, tuple[Pin, ...]]]
    wheels: dict[Arch, dict[CapsuleRuntime, tuple[Pin, ...]]]
    needs: dict[Arch, dict[CapsuleRuntime, GlibcNeeds]] = Field(
        description="what the wheels' shared objects ask of a device whose own Python would load them"
    )


def find_lock(path: Path | None = None) -> PackageLock:
    """The lock at `path`; without one the user's own where there is one, and else the built-in."""
    found = path or next((one for one in (own_lock(), _BUILT_IN) if one.is_file()), _BUILT_IN)
    return PackageLock.load(found)


def own_lock() -> Path:
    """Where `edgeprune capsule lock` writes a lock that comes before the built-in one."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "edgeprune" / LOCK_NAME


_BUILT_IN = Path(__file__).with_name(LOCK_NAME)

"""Libraries: what the capsule's own files load, from the packages, down to glibc and its loader."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeprune.core.elf import elf_needs
from edgeprune.core.errors import RequestError

# Loaded by name while running, so that no file asks for it: glibc opens it to end a thread.
_OPENED_LATER = ("libgcc_s.so.1",)


def add_libraries(folder: Path, system: Path) -> str:
    """Copy every library that something in the folder needs into its `lib`; the name of the loader.

    An extension of the standard library whose library is in no package (`sqlite3`, `readline`) is taken out:
    a capsule does without. A runtime's library must be there.
    """
    offered = {path.name: path for path in sorted(system.rglob("*.so*")) if _inside(path, system)}
    own = {path.name for path in folder.rglob("*.so*")}
    _drop_extensions(folder, own, offered)
    pending = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    wanted = list(_OPENED_LATER)
    while pending or wanted:
        for name in wanted:
            pending.append(_add(name, folder, offered))
            own.add(name)
        needs = elf_needs(pending.pop()) if pending else None
        wanted = [name for name in needs.libraries if name not in own] if needs else []
    return next(path.name for path in (folder / "lib").iterdir() if path.name.startswith("ld-linux"))


def _drop_extensions(folder: Path, own: set[str], offered: dict[str, Path]) -> None:
    for path in sorted(folder.glob("lib/python*/lib-dynload/*.so")):
        needs = elf_needs(path)
        if needs is not None and any(name not in own and name not in offered for name in needs.libraries):
            path.unlink()


def _add(name: str, folder: Path, offered: dict[str, Path]) -> Path:
    if name not in offered:
        raise RequestError(
            f"the capsule needs {name}, which is in none of its packages",
            hint="report this as a bug: the list of packages in stages/capsule/pin.py is too short",
        )
    copied = folder / "lib" / name
    shutil.copyfile(offered[name].resolve(), copied)
    copied.chmod(0o755)
    return copied


def _inside(path: Path, system: Path) -> bool:
    """Whether a library is a file of the packages, not a link into this machine's own system."""
    return path.is_file() and path.resolve().is_relative_to(system.resolve())

"""Which Python may run a runtime on a device: its own, where glibc is new enough, or a capsule, and why.

Decided by what the shared objects ask for, not by the wheel's tag: tags promise less than is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.core.elf import Version, elf_needs

_GLIBCXX_OF_GCC: tuple[tuple[Version, str], ...] = (
    ((3, 4, 26), "GCC 9"),
    ((3, 4, 28), "GCC 10"),
    ((3, 4, 29), "GCC 11"),
    ((3, 4, 30), "GCC 12"),
)
"""The libstdc++ that first had a version (libstdc++ manual, "ABI Policy and Guidelines")."""


@dataclass(frozen=True, slots=True)
class GlibcNeeds:
    """The newest versions that the shared objects of a folder ask for, and which file asks for each."""

    glibc: Version = ()
    glibc_file: str = ""
    glibcxx: Version = ()
    glibcxx_file: str = ""


@dataclass(frozen=True, slots=True)
class PythonChoice:
    """Which Python to run on a device, and the reason in words."""

    python: Literal["own", "capsule"]
    why: str


def glibc_needs(folder: Path) -> GlibcNeeds:
    """What all shared objects below a folder (an unpacked wheel, site-packages) need together."""
    needs = GlibcNeeds()
    for path in sorted(folder.rglob("*.so*")):
        found = elf_needs(path) if path.is_file() else None
        if found is not None and found.glibc > needs.glibc:
            needs = GlibcNeeds(found.glibc, path.name, needs.glibcxx, needs.glibcxx_file)
        if found is not None and found.glibcxx > needs.glibcxx:
            needs = GlibcNeeds(needs.glibc, needs.glibc_file, found.glibcxx, path.name)
    return needs


def choose_python(
    needs: GlibcNeeds,
    *,
    glibc: Version | None,
    glibcxx: Version | None = None,
    python: Version | None,
    wheel_python: Version = (3, 11),
) -> PythonChoice:
    """Compare what a runtime needs with what a device has.

    Parameters
    ----------
    glibc : version, optional
        The device's, as `(2, 31)`; None where it has none (Android) or it is not known.
    glibcxx : version, optional
        The newest GLIBCXX of its libstdc++; None where it was not looked up, and then it is not compared.
    python : version, optional
        The device's own interpreter; None without one.
    """
    if glibc is None:
        return PythonChoice("capsule", "the device has no glibc, so no published wheel loads there")
    if needs.glibc > glibc:
        return PythonChoice(
            "capsule", f"{needs.glibc_file} needs glibc {_text(needs.glibc)}, the device has {_text(glibc)}"
        )
    if glibcxx is not None and needs.glibcxx > glibcxx:
        return PythonChoice(
            "capsule",
            f"{needs.glibcxx_file} needs GLIBCXX_{_text(needs.glibcxx)}{_gcc(needs.glibcxx)}, "
            f"the device has {_text(glibcxx)}",
        )
    if python is None or python[:2] != wheel_python:
        has = "no Python" if python is None else f"Python {_text(python)}"
        return PythonChoice(
            "capsule", f"the wheels are for Python {_text(wheel_python)}, the device has {has}"
        )
    return PythonChoice(
        "own",
        f"glibc {_text(glibc)} has the {_text(needs.glibc)} that {needs.glibc_file or 'the runtime'} needs, "
        f"and Python is {_text(python)}",
    )


def parse_version(text: str) -> Version:
    """`(2, 36)` of `2.36`; what is no number ends it."""
    numbers = []
    for part in text.strip().split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _gcc(version: Version) -> str:
    name = next((name for first, name in _GLIBCXX_OF_GCC if version == first), "")
    return f" ({name})" if name else ""

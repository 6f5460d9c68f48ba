"""Shared objects: which libraries and which versions of them a file needs, read from the file itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

Version = tuple[int, ...]
_NUMBERED = re.compile(r"(GLIBC|GLIBCXX)_(\d+(?:\.\d+)*)$")


@dataclass(frozen=True, slots=True)
class ElfNeeds:
    """What one file asks of the system it is loaded on."""

    machine: str
    libraries: tuple[str, ...]
    glibc: Version
    glibcxx: Version


def elf_needs(path: Path) -> ElfNeeds | None:
    """What a file needs; None where it is no ELF file. A version that is not asked for is `()`."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return None
        file.seek(0)
        try:
            elf = ELFFile(file)
            versions = list(_versions(elf))
            libraries = tuple(_libraries(elf))
        except ELFError:
            return None
        return ElfNeeds(
            machine=elf.get_machine_arch(),
            libraries=libraries,
            glibc=max((version for kind, version in versions if kind == "GLIBC"), default=()),
            glibcxx=max((version for kind, version in versions if kind == "GLIBCXX"), default=()),
        )


def _libraries(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            tags: Iterator[Any] = section.iter_tags("DT_NEEDED")
            yield from (str(tag.needed) for tag in tags)


def _versions(elf: ELFFile) -> Iterator[tuple[str, Version]]:
    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection):
            continue
        for _, needs in section.iter_versions():
            for need in needs:
                numbered = _NUMBERED.match(need.name)
                if numbered:
                    yield numbered[1], tuple(int(part) for part in numbered[2].split("."))

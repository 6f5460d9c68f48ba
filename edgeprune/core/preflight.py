"""Preflights: whether a bundle can be shipped to a device, decided before anything is written there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeprune.core.bundle import Bundle
from edgeprune.core.device_run import FileRun
from edgeprune.core.errors import DeviceError
from edgeprune.core.shelf import Look
from edgeprune.core.survey import Survey
from edgeprune.core.units import format_bytes

_SPARE = 4 << 20
"""Room for the runner, golden answers and what the file system needs beside the files."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `next_step` is '' where all is well."""

    what: str
    next_step: str = ""


def preflight(bundle: Bundle, facts: Survey, look: Look, *, keeps: bool) -> list[Finding]:
    """Everything that must be so; `keeps` says that the version is on the device already."""
    return [*_machine(bundle, facts), *_folder(look), *([] if keeps else _space(bundle, look))]


def require_clear(where: str, findings: list[Finding]) -> None:
    """Say everything that stands in the way at once; raises DeviceError."""
    bad = [one for one in findings if one.next_step]
    if bad:
        raise DeviceError(
            f"{where}: {'; '.join(one.what for one in bad)}",
            hint="; ".join(one.next_step for one in bad),
        )


def notes_on(bundle: Bundle, facts: Survey, checked: FileRun | None) -> list[str]:
    """What does not stand in the way, and should be known."""
    needs = bundle.requires
    found = []
    if needs.model not in facts.model:
        found.append(f"it is not recognised as a {needs.model}: {facts.model or 'it has no model name'}")
    if checked is not None and checked.runtime_version not in {"", needs.runtime_version}:
        found.append(
            f"{checked.runtime} {checked.runtime_version} runs there, "
            f"{needs.runtime} {needs.runtime_version} where it was made"
        )
    return found


def _machine(bundle: Bundle, facts: Survey) -> Iterator[Finding]:
    needs = bundle.requires
    if needs.machine != facts.machine or needs.system not in {"", facts.system}:
        there, wanted = f"{facts.system} {facts.machine}", f"{needs.system} {needs.machine}".strip()
        yield Finding(
            f"it is a {there}, the bundle is for {wanted} (target {bundle.target})",
            "compress for the device's own target: `edgeprune targets list`",
        )
    else:
        yield Finding(f"machine {facts.machine}, as the bundle needs it")


def _folder(look: Look) -> Iterator[Finding]:
    if look.obstacle:
        yield Finding(look.obstacle, "move it away on the device, or choose another folder")
    elif not look.writable:
        yield Finding(
            "this user may not write to the folder", "choose another folder, or `chown` it on the device"
        )


def _space(bundle: Bundle, look: Look) -> Iterator[Finding]:
    needed = 2 * bundle.bytes + _SPARE  # packed on the way, and unpacked
    if look.free_bytes is None:
        return
    words = f"{format_bytes(look.free_bytes)} are free, {format_bytes(needed)} are needed"
    yield Finding(words, "free some space there, or keep fewer versions" if look.free_bytes < needed else "")

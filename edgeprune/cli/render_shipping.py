"""Bundles, shipments, shelves and rollouts as people read them."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from edgeprune.cli.render import console
from edgeprune.core.assets import ASSETS, Assets
from edgeprune.core.bundle import Bundle
from edgeprune.core.device_run import FileRun
from edgeprune.core.fleet import Rollout, Visit
from edgeprune.core.shipment import ShelfStatus, Shipment
from edgeprune.core.units import format_bytes, format_seconds


def bundle(made: Bundle, path: Path) -> None:
    """What went into a bundle."""
    out = console()
    budget = f", at most {made.latency_budget_ms:g} ms there" if made.latency_budget_ms else ""
    out.print(
        f"{path}: version {made.id}, {made.artifact.path} ({made.artifact.precision}) "
        f"for {made.target}{budget}"
    )
    brings = (
        "with its own Python and runtime"
        if made.has_capsule
        else f"needs Python with {made.requires.runtime}"
    )
    out.print(f"{format_bytes(made.bytes)} in {len(made.entries)} files, signed; {brings}")


def assets(made: Assets, folder: Path) -> None:
    """What lies in an app's assets now, and what its build must know."""
    out = console()
    out.print(f"{folder}: version {made.version}, {made.path} ({made.precision}), {format_bytes(made.bytes)}")
    out.print(f"{ASSETS} says how it is fed and what it must answer; signed by {made.signer}")
    suffix = Path(made.path).suffix.removeprefix(".")
    out.print(
        f"in the app's build file, so that it is mapped and not unpacked: "
        f'android {{ androidResources {{ noCompress += "{suffix}" }} }}',
    )


def shipment(done: Shipment) -> None:
    """What changed on a device."""
    out = console()
    if done.before == done.version:
        out.print(f"{done.to}: version {done.version} is live already{_answers(done.checked)}")
    else:
        before = f", before {done.before}" if done.before else ""
        out.print(f"{done.to}: version {done.version} is live{before}{_answers(done.checked)}")
    sent = f"{format_bytes(done.uploaded_bytes)} sent" if done.uploaded_bytes else "nothing to send"
    removed = f"; removed: {', '.join(done.removed)}" if done.removed else ""
    out.print(f"{sent}, {format_seconds(done.seconds)} in all{removed}")
    for note in done.notes:
        out.print(f"note: {note}")


def status(found: ShelfStatus) -> None:
    """The versions of a shelf, newest first."""
    out = console()
    if found.versions:
        table = Table("version", "", "model", "file", "size", "target", box=None)
        for one in found.versions:
            known = (one.model, one.file, format_bytes(one.bytes), one.target)
            cells = known if one.file else ("(its manifest is damaged)", "", "", "")
            table.add_row(one.name, "live" if one.live else "", *cells)
        out.print(table)
    if found.changing:
        out.print(f"{found.changing} is changing it")
    if found.problem:
        out.print(f"{found.at}: {found.problem}")
    elif found.checked:
        out.print(f"{found.at}: version {found.live} is intact{_answers(found.checked)}")
    else:
        out.print(f"{found.at}: version {found.live} is live; `--check` tests it")


def visit(one: Visit) -> None:
    """One line as soon as a device is done."""
    out = console()
    words = f": {one.why}" if one.why else _answers(one.shipment.checked if one.shipment else None)
    out.print(f"{one.to}: {one.outcome}{words}")


def rollout(done: Rollout) -> None:
    """Every device of a fleet."""
    out = console()
    table = Table("device", "group", "outcome", "before", "p50 ms", "seconds", box=None)
    for one in done.visits:
        found = one.shipment
        timing = found.checked.timings[0].p50_ms if found and found.checked else None
        table.add_row(
            one.to,
            one.group,
            one.outcome,
            (found.before or "") if found else "",
            f"{timing:.3f}" if timing is not None else "",
            f"{found.seconds:.1f}" if found else "",
        )
    out.print(table)
    counts = {
        name: sum(one.outcome == name for one in done.visits)
        for name in ("shipped", "had it", "failed", "not begun")
    }
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    out.print(f"version {done.version}: {words}; {format_seconds(done.seconds)} in all")
    for hint in dict.fromkeys(one.hint for one in done.visits if one.hint):
        out.print(f"hint: {hint}")


def _answers(checked: FileRun | None) -> str:
    if checked is None:
        return ""
    runtime = f"{checked.runtime} {checked.runtime_version}"
    return f", answers as it should in {checked.timings[0].p50_ms:.3g} ms ({runtime})"

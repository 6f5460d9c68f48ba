"""Documents as people read them; the end of a run, the longest of them, is in `outcome.py`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from edgeprune.core.application import Application
from edgeprune.core.comparison import Comparison, Row
from edgeprune.core.device_run import FileRun, throttled_words
from edgeprune.core.diagnosis import Diagnosis
from edgeprune.core.inspection import GroupRow, Inspection, Lock
from edgeprune.core.plan import Cost, PlanDifference
from edgeprune.core.profiling import Profiling
from edgeprune.core.report import Latency
from edgeprune.core.survey import Python
from edgeprune.core.target import Target
from edgeprune.core.timing import Timing
from edgeprune.core.units import (
    format_bytes,
    format_count,
    format_milliseconds,
    format_operator,
    format_ranges,
)


def inspection(document: Inspection, *, all: bool) -> None:
    """Groups as a table, in the order the network runs; groups locked alike in one line without `all`."""
    out = console()
    table = Table("group", "kind", "units", "members", "MACs", "parameters", "", box=None)
    folded: dict[object, list[GroupRow]] = {}
    for row in document.groups:
        alike = (row.locked.why, row.locked.operator, row.kind) if row.locked and not all else row.id
        folded.setdefault(alike, []).append(row)
    for rows in folded.values():
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        units = sorted(row.units for row in rows)
        free = rows[0].locked is None
        table.add_row(
            f"{rows[0].id}{more}",
            rows[0].kind,
            f"{units[0]}..{units[-1]}" if units[0] != units[-1] else str(units[0]),
            str(sum(len(row.members) for row in rows)),
            _percent(rows[0].macs, document.cost.macs) if free else "",
            _percent(rows[0].parameters, document.cost.parameters) if free else "",
            group_note(rows),
        )
    out.print(table)
    inspection_summary(document)


def inspection_summary(document: Inspection) -> None:
    """What the network costs, and how little it could."""
    out = console()
    locked = [row.locked for row in document.groups if row.locked]
    out.print(
        f"input {' and '.join(map(str, document.inputs))}: {_cost(document.cost)}; "
        f"{len(locked)} of {len(document.groups)} groups locked"
    )
    out.print(f"with one unit left in every free group: {_cost(document.least)}")
    if document.beyond:
        names = " and ".join(document.beyond.allow)
        out.print(f"ceiling if {names} were allowed: {_cost(document.beyond.least)}")
    for hint, count in Counter(lock.hint for lock in locked if lock.hint).items():
        out.print(f"locked ({count}): {hint}")


def group_note(rows: Sequence[GroupRow]) -> str:
    """Why groups that are alike are locked, or what their cut may do besides."""
    first = rows[0]
    if first.locked is None:
        inexact = [f"not exact under {' and '.join(first.inexact)}"] if first.inexact else []
        lanes = [f"each of {first.lanes} groups may keep different channels"] if first.lanes else []
        return "; ".join([*inexact, *lanes])
    return f"locked: {lock_words([row.locked for row in rows if row.locked])}"


def lock_words(locks: Sequence[Lock]) -> str:
    """A reason with its operator and the user's lines."""
    operator = "" if locks[0].operator in {"output", "placeholder"} else format_operator(locks[0].operator)
    lines = list(dict.fromkeys(lock.source for lock in locks if lock.source))
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    place = ", ".join(part for part in (operator, *lines[:3]) if part) + more
    return f"{locks[0].why} ({place})" if place else locks[0].why


def profiling(document: Profiling) -> None:
    """Latencies of loose files, what starting them takes, and what they were measured under."""
    out = console()
    # Two tables, since one is wider than many terminals and would cut the names of the files.
    latencies = Table("file", "p50 ms", "95 % interval", "p90 ms", "p95 ms", "p99 ms", box=None)
    starts = Table("file", "size", "memory", "load ms", "first ms", "runtime", box=None)
    for file in document.files:
        latencies.add_row(file.artifact.path, *_quantiles(file.latency.timing))
        runtime = f"{file.latency.runtime} {file.latency.runtime_version}"
        starts.add_row(file.artifact.path, format_bytes(file.artifact.bytes), *_starting(file.run), runtime)
    out.print(latencies)
    out.print(starts)
    for file in document.files:
        for timing in file.run.timings[1:] if file.run else ():
            median = f"p50 {format_milliseconds(timing.p50_ms)} {_interval(timing)} ms"
            out.print(f"{file.artifact.path} on {timing.threads} threads: {median}", markup=False)
        for row in file.run.operators[:5] if file.run else ():
            words = f"  {row.operator}: {format_milliseconds(row.ms)} ms in {row.calls} calls"
            out.print(words, markup=False)
    out.print(_measured_on(document), markup=False)


def _measured_on(document: Profiling) -> str:
    timing, under = document.files[0].latency.timing, document.conditions
    threads = f", {timing.threads} thread{'s' if timing.threads > 1 else ''}" if timing else ""
    governor = f", governor {under.governor}" if under and under.governor else ""
    warm = under.after.temperature_c if under else None
    heat = f", {warm:.0f} degrees afterwards" if warm is not None else ""
    where = "" if document.at_hand else f"; this is not a {document.target}"
    return f"measured on {document.device.name}{threads}{governor}{heat}{where}"


def _quantiles(timing: Timing | None) -> list[str]:
    """The median with its interval, and what the slow inferences take."""
    if timing is None:
        return ["-"] * 5
    median, *slow = map(format_milliseconds, (timing.p50_ms, timing.p90_ms, timing.p95_ms, timing.p99_ms))
    return [median, _interval(timing), *slow]


def _interval(timing: Timing) -> str:
    low, high = map(format_milliseconds, timing.p50_interval_ms)
    return f"[{low}, {high}]"


def _starting(run: FileRun | None) -> list[str]:
    if run is None:
        return ["-"] * 3
    peak = format_bytes(run.peak_memory_bytes) if run.peak_memory_bytes else "-"
    return [peak, format_milliseconds(run.load_ms), format_milliseconds(run.first_ms)]


def diagnosis(document: Diagnosis) -> None:
    """A device as it describes itself, and what to do."""
    out, facts = console(), document.survey
    out.print(f"{facts.address}: {facts.title}", markup=False)
    table = Table("fact", "value", box=None, show_header=False)
    clocks = sorted({f"{clock / 1000:g}" for clock in facts.core_clocks_mhz})
    for name, value in (
        ("system", f"{facts.system} {facts.kernel}, {facts.machine}"),
        ("libc", facts.libc),
        ("cores", f"{facts.cores}" + (f" at up to {', '.join(clocks)} GHz" if clocks else "")),
        ("clock now", f"{facts.clock_mhz:.0f} MHz" if facts.clock_mhz else ""),
        ("governor", facts.governor),
        ("temperature", f"{facts.temperature_c:.0f} degrees" if facts.temperature_c is not None else ""),
        ("throttled", throttled_words(facts.throttled_bits) or ("no" if facts.throttled_bits == 0 else "")),
        ("memory", format_bytes(facts.memory_bytes) if facts.memory_bytes else ""),
        ("free space", format_bytes(facts.free_bytes) if facts.free_bytes is not None else ""),
        *((f"python {one.version}", _python(one)) for one in facts.pythons),
    ):
        table.add_row(name, value or "not told")
    out.print(table)
    if document.fits:
        out.print(f"it is recognised as {document.target}")
    for one in document.obstacles:
        out.print(f"{'missing' if one.blocks else 'note'}: {one.matter}", markup=False)
        out.print(f"  {one.next_step}", markup=False)
    if not any(one.blocks for one in document.obstacles):
        out.print(f"ready: edgeprune profile FILE... --at {shlex.quote(facts.address)}", markup=False)


def _python(one: Python) -> str:
    has = ", ".join(f"{name} {version}" for name, version in one.packages.items())
    return f"{one.path} with {has or 'no runtime'}"


def comparison(document: Comparison) -> None:
    """Two reports side by side."""
    out = console()
    table = Table("file", "size", "top-1 %", "p50 ms", "ratio", "verdict", box=None)
    for row in document.rows:
        interval = f" [{row.interval[0]:.2f}, {row.interval[1]:.2f}]" if row.interval else ""
        table.add_row(
            f"{row.format} {row.precision}",
            f"{format_bytes(row.bytes_before)} -> {format_bytes(row.bytes_after)}",
            _accuracy(row),
            _change(row.p50_ms_before, row.p50_ms_after),
            f"{row.ratio:.2f}{interval}" if row.ratio else "",
            row.verdict,
        )
    out.print(table)
    if not document.same_device:
        out.print("[yellow]warning:[/] the two reports were measured on different machines")
    for side, names in ((document.before, document.only_before), (document.after, document.only_after)):
        if names:
            out.print(f"only in {side}: {', '.join(names)}")


def _accuracy(row: Row) -> str:
    interval = f" [{row.top1_change[0]:+.1f}, {row.top1_change[1]:+.1f}]" if row.top1_change else ""
    return _change(row.top1_before, row.top1_after) + interval


def application(document: Application) -> None:
    """A plan that was carried out."""
    out, proof, plan = console(), document.proof, document.plan
    out.print(f"[bold]{document.model}[/]: {_saving(plan.before, plan.after)}")
    out.print(
        f"proof: equals the original with the cut channels silenced to {proof.relative_error:.0e} "
        f"(relative, {proof.precision}); {len(plan.cuts)} groups cut"
    )
    for cut in plan.cuts:
        if cut.lanes:
            out.print(f"{cut.group}: different channels in each of {len(cut.lanes)} groups", markup=False)
    for file in document.files:
        out.print(file)


def difference(document: PlanDifference) -> None:
    """Two plans, group by group."""
    out, sides = console(), (document.first, document.second)
    table = Table("group", "units", "first keeps", "second keeps", "only first", "only second", box=None)
    for row in document.groups:
        table.add_row(
            row.group,
            str(row.units),
            str(row.kept_first),
            str(row.kept_second),
            format_ranges(row.only_first),
            format_ranges(row.only_second),
        )
    out.print(table if document.groups else "the two plans cut alike")
    for row in document.groups:
        if row.lanes:
            out.print(f"{row.group}: other channels in {row.lanes} groups of its convolution")
    for title, side in zip(("first", "second"), sides, strict=True):
        out.print(
            f"{title}: {side.name} ({side.criterion}, {side.budget}): {_saving(side.before, side.after)}"
        )
    for title, names in (("first", document.only_first), ("second", document.only_second)):
        if names:
            out.print(f"cut by the {title} only: {', '.join(names)}")


def _saving(before: Cost, after: Cost) -> str:
    return (
        f"{format_count(before.macs)} -> {format_count(after.macs)} MACs, "
        f"{format_count(before.parameters)} -> {format_count(after.parameters)} parameters"
    )


def target(document: Target) -> None:
    """One target with its facts and their sources."""
    out = console()
    out.print(f"[bold]{document.name}[/]: {document.summary}")
    out.print(f"formats: {', '.join(f'{f} ({r})' for f, r in document.runtimes.items())}")
    out.print(f"precisions: {', '.join(document.precisions)}; threads: {document.threads}")
    out.print(f"channels: multiples of {document.channels.multiple} ({document.channels.source})")
    # A source that is cut off cannot be looked up, so long ones go on in the next line.
    table = Table("fact", "value", Column("source", overflow="fold"), box=None)
    for name, fact in document.physics.items():
        table.add_row(name, f"{_value(fact.value)} {fact.unit}".strip(), fact.source)
    out.print(table)


def _cost(cost: Cost) -> str:
    return f"{format_count(cost.macs)} MACs, {format_count(cost.parameters)} parameters"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / (whole or 1):.1f} %"


def _value(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"


def latency_cells(latency: Latency) -> list[str]:
    """Its p50, p95 and p99 in milliseconds."""
    return [format_milliseconds(value) for value in (latency.p50_ms, latency.p95_ms, latency.p99_ms)]


def _change(before: float | None, after: float | None) -> str:
    return "-" if before is None or after is None else f"{before:.2f} -> {after:.2f}"


def console() -> Console:
    """Tables as wide as the terminal, or 160 columns where nobody watches; other lines are never broken."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)

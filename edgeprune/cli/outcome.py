"""Outcome: what a compress run says at its end, as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgeprune.cli import render
from edgeprune.core.drop import Drop, bound_words
from edgeprune.core.operator import short_name
from edgeprune.core.quantization import Quantization, Step
from edgeprune.core.report import (
    Baseline,
    DeliveredArtifact,
    Finetuning,
    ImageCounts,
    Latency,
    Qualities,
    Quality,
    Report,
    Thinned,
)
from edgeprune.core.units import format_bytes, format_count, format_milliseconds, format_seconds


def outcome(document: Report, *, folder: Path) -> None:
    """The end of `compress`."""
    out = render.console()
    cost, proof = document.cost, document.proof
    out.print(
        f"\n[bold]{document.model}[/] for [bold]{document.target}[/]: "
        f"{format_count(cost.before.macs)} -> {format_count(cost.after.macs)} MACs "
        f"({cost.before.macs / cost.after.macs:.2f}x fewer), "
        f"{format_count(cost.before.parameters)} -> {format_count(cost.after.parameters)} parameters"
    )
    if document.thinned is not None:
        _thinned(document.thinned, out)
    else:
        out.print(
            f"proof: equals the original with the cut channels silenced to {proof.relative_error:.0e} "
            f"(relative, {proof.precision}); {len(document.locked)} of {document.groups} groups locked"
        )
    for name in sorted({name for names in proof.inexact.values() for name in names}):
        cut = sum(name in names for names in proof.inexact.values())
        out.print(
            f"[yellow]exactness does not hold for {cut} group{'s' if cut > 1 else ''} under {name}[/]: "
            "the norm's statistics are those of the kept channels; the proof compares with the original "
            "in which the cut channels are left out of the statistics"
        )
    if document.finetuning is not None:
        out.print(_training(document.finetuning))
    quality = document.quality
    if quality.original and quality.shrunk and document.images:
        out.print(f"top-1: original {_quality(quality.original)}, shrunk {_quality(quality.shrunk)}")
        for line in _drops(quality):
            out.print(line, markup=False)
        out.print(_images(document.images))
    else:
        out.print(quality.note)
        if document.images:
            out.print(_images(document.images))
    for line in _bounds(document):
        out.print(line, markup=False)
    out.print(_artifacts(document))
    for one in document.artifacts:
        if one.quantization is not None:
            for line in _ledger(one.path, one.quantization):
                out.print(line, markup=False)
    for path, how in document.refused.items():
        for line in _ledger(path, how):
            out.print(line, markup=False)
    out.print(_where_measured(document))
    if any(one.precision == "int8-static" for one in document.artifacts):
        for advice in document.advice:
            out.print(advice.words(document.target), markup=False)
    for line in document.warnings:
        out.print(f"[yellow]warning:[/] {line}")
    seconds = format_seconds(sum(document.timing_s.values()))
    out.print(f"{folder}/report.json  ({seconds} in all)")


def _thinned(done: Thinned, out: Console) -> None:
    """How many connections are left, and what zeros are worth."""
    before, after = sum(done.weights.values()), sum(done.kept.values())
    units = (
        "1 unit that nothing read was"
        if done.units_gone == 1
        else (f"{done.units_gone} units that nothing read were")
    )
    gone = f"; {units} removed" if done.units_gone else ""
    out.print(
        f"connections: {format_count(before)} -> {format_count(after)} ({done.times:.3g}x fewer), "
        f"{format_count(done.parameters)} parameters are not zero{gone}"
    )
    layers = (f"{name} {format_count(done.kept.get(name, 0))}" for name in done.weights)
    out.print(f"left in: {', '.join(layers)}", markup=False)
    for line in done.zeros.words() if done.zeros is not None else ():
        out.print(line, markup=False)


def _artifacts(document: Report) -> Table:
    packed = ("packed",) if document.thinned is not None else ()
    table = Table(
        *("file", "size", *packed, "top-1 %", "drop", "agrees %"),
        *("p50 ms", "p95 ms", "p99 ms", "speed", "verified"),
        box=None,
    )

    def sizes(one: DeliveredArtifact | Baseline) -> list[str]:
        small = "-" if one.deflated is None else format_bytes(one.deflated)
        return [format_bytes(one.bytes), small] if packed else [format_bytes(one.bytes)]

    quality = document.quality.original
    base = {}
    for whole in document.baseline:
        base[whole.format] = _measured(whole).p50_ms
        table.add_row(
            f"original, {whole.format}",
            *sizes(whole),
            f"{quality.top1:.2f}" if quality else "-",
            "",
            "",
            *render.latency_cells(_measured(whole)),
            "1.00x",
            "",
            style="dim",
        )
    for one in sorted(document.artifacts, key=lambda one: one.format):
        table.add_row(
            one.path,
            *sizes(one),
            f"{one.quality.top1:.2f}" if one.quality else "-",
            _drop(one.drop),
            f"{one.agreement:.2f}",
            *render.latency_cells(_measured(one)),
            _speed(base.get(one.format), _measured(one).p50_ms),
            "[green]yes[/]" if one.passed else f"[red]no: {one.why}[/]",
        )
    return table


def _drop(drop: Drop | None) -> str:
    return f"{drop.points:.2f} [{drop.interval[0]:.2f}, {drop.interval[1]:.2f}]" if drop else "-"


def _speed(before: float | None, after: float | None) -> str:
    return f"{before / after:.2f}x" if before and after else "-"


def _where_measured(document: Report) -> str:
    if all(one.latency.kind == "measured" for one in document.artifacts):
        return f"latency: measured on {document.device.name}, which fits {document.target}"
    return (
        f"latency: measured on this machine, {document.device.name}; "
        f"[yellow]not measured on the {document.target}[/]"
    )


def _measured(one: DeliveredArtifact | Baseline) -> Latency:
    return one.latency if one.latency.kind == "measured" else one.latency_here or one.latency


def _training(done: Finetuning) -> str:
    kept = {"start": "none of it was kept", "last": "last weights kept", "averaged": "averaged weights kept"}
    labels = "labels and the original's answers" if done.labelled else "the original's answers"
    return (
        f"training: {done.epochs} x {done.images} images on {labels}, augment {done.augment}, "
        f"{done.precision}; {kept[done.kept]}"
    )


def _quality(quality: Quality) -> str:
    low, high = quality.interval
    return f"{quality.top1:.2f} % [{low:.2f}, {high:.2f}]"


def _drops(quality: Qualities) -> Iterator[str]:
    """What the drop is worth, and the class it falls on."""
    drop = quality.drop
    if drop is None:
        return
    low, high = drop.interval
    lost = "1 image" if drop.lost == 1 else f"{drop.lost} images"
    yield (
        f"drop: {drop.points:.2f} points [{low:.2f}, {high:.2f}]; {lost} lost, "
        f"{drop.gained} gained (McNemar p = {drop.p_value:.2g})"
    )
    for one in quality.classes:
        if one.name == quality.worst:
            low, high = one.drop.interval
            yield (
                f"worst class: {one.name}, {one.drop.before:.2f} -> {one.drop.after:.2f} % of "
                f"{one.drop.images} images, {one.drop.points:.2f} points [{low:.2f}, {high:.2f}] "
                f"(p = {one.p_value:.2g} after Holm)"
            )


def _bounds(document: Report) -> Iterator[str]:
    """The bounds that only the finished network can be held to, and how it was found."""
    search, claim, size = document.search, document.claim, document.size
    if search is not None:
        yield (
            f"searched: the smallest cut within {bound_words(search.at_most, search.answers)} at "
            f"{100 * search.confidence:g} % on {search.images} selection images"
        )
        for one in search.trials:
            low, high = one.drop.interval
            yield (
                f"  {format_count(one.cost.macs):>7} MACs  {one.drop.points:5.2f} [{low:.2f}, {high:.2f}]  "
                f"{'holds' if one.held else 'does not hold'} ({100 * one.certainty:.1f} %), "
                f"{format_seconds(one.seconds)}"
            )
    if claim is not None:
        yield f"{claim.words()} on the test images: {claim.verdict} ({100 * claim.certainty:.1f} %)"
    if size is not None:
        yield (
            f"size: {size.path} has {format_bytes(size.bytes)} of {format_bytes(size.asked)}, "
            f"foretold {format_bytes(size.predicted)} at most"
        )


def _ledger(path: str, how: Quantization) -> Iterator[str]:
    """Which ranges were chosen, and what every operator that went back to float32 bought and cost."""
    if not how.fallbacks:
        return
    yield (
        f"{path}: {how.ranges} ranges; with all {how.operators} operators in integers "
        f"{_points(how.before)} on {how.images} selection images, more than the {how.guard.at_most:g} allowed"
    )
    before = how.before
    for one in how.fallbacks:
        first, more = short_name(one.operators[0]), len(one.operators) - 1
        yield (
            f"  {one.kind} {first}{f' and {more} more' if more else ''} in float32: "
            f"{before.drop.points:.2f} -> {one.drop.points:.2f} points lost, "
            f"{format_bytes(before.bytes)} -> {format_bytes(one.bytes)}, "
            f"{format_milliseconds(before.p50_ms)} -> {format_milliseconds(one.p50_ms)} ms"
        )
        before = one


def _points(step: Step) -> str:
    low, high = step.drop.interval
    return f"{step.drop.points:.2f} points [{low:.2f}, {high:.2f}] are lost"


def _images(counts: ImageCounts) -> str:
    return (
        f"images: {counts.calibration} calibration, {counts.selection} selection, "
        f"{counts.test} test; no image in two of them"
    )

"""Whole zoos as files: what could be written, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.export.trained import FORMATS
from benchmarks.zoo.jobs import NOT_MEASURED, Job, Result, kept_results, run_jobs
from benchmarks.zoo.networks import timm_networks, torchvision_networks, torchvision_parameters

FILES_TEXT = (
    "Random weights (seed 0), half of the units of every free group cut at once, then ONNX and TFLite files\n"
    "in float32 and static int8 (min-max ranges over 8 noise inputs, no guard), each run by its runtime on\n"
    "16 inputs. Float32: largest difference to the captured network, relative to its largest output. Int8:\n"
    "signal over noise at the outputs, and how often the largest output is the same one; untrained outputs\n"
    "lie close together, so the signal says more. Seconds are export + int8, beside other work."
)
_LARGEST = 150_000_000
_TIMM = 40
_EXACT = 1e-3
"""Of untrained networks: hundreds of layers add up rounding."""


def files_section(folder: Path, *, kept: bool = False) -> list[str]:
    """Whole zoos as files, smallest networks first."""
    del folder
    networks = [one for one in torchvision_networks() if one.family == "classification"]
    large = [one.name for one in networks if torchvision_parameters(one.name) > _LARGEST]
    networks = [one for one in networks if one.name not in large] + timm_networks()[:_TIMM]
    jobs = [Job("files", (one.source, one.name, one.family), 900) for one in networks]
    rows = kept_results(jobs) if kept else run_jobs(jobs)
    named = [(one.name, row) for one, row in zip(networks, rows, strict=True)]
    missing = [name for name, row in named if row.get("refused") == NOT_MEASURED]
    named = [(name, row) for name, row in named if name not in missing]
    lines = ["## Zoos as files", "", FILES_TEXT, "", *_totals(named), ""]
    lines += [
        "| network | ONNX float32 | int8 | kB | s | TFLite float32 | int8 | kB | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {' | '.join(cell for format in FORMATS for cell in _cells(row, format))} |"
        for name, row in named
    ]
    if missing:
        lines += ["", f"Not measured, for lack of time: {', '.join(missing)}."]
    return [*lines, "", f"Left out, more than {_LARGEST:,} parameters: {', '.join(large)}."]


def _totals(named: Sequence[tuple[str, Result]]) -> list[str]:
    """How many files each format gave, and every one that it did not."""
    lines = []
    for format in FORMATS:
        # Not by name: both zoos have a densenet121.
        found = [row.get("files", {}).get(format, {}) for _, row in named]
        good = [one for one in found if one.get("fp32", {}).get("relative", 1) <= _EXACT]
        whole = [one for one in found if "int8-static" in one]
        lines.append(
            f"{format}: {len(good)} of {len(named)} float32 files answer like the network, "
            f"{len(whole)} int8 files were written and run."
        )
    for name, row in named:
        if "crash" in row or "refused" in row:
            lines.append(f"- {name}: {row.get('crash') or row.get('refused')}")
        for format, one in row.get("files", {}).items():
            if "refused" in one:
                lines.append(f"- {name}, {format}: {one['refused']}")
    return lines


def _cells(row: Result, format: str) -> list[str]:
    found = row.get("files", {}).get(format, {})
    full, small = found.get("fp32"), found.get("int8-static")
    seconds = sum(found.get("seconds", {}).values())
    return [
        "-" if full is None else f"{full['relative']:.0e}",
        "-" if small is None else f"{small['snr_db']} dB, {small['agrees']:.0f} %",
        "-"
        if full is None
        else f"{full['bytes'] / 1e3:,.0f}" + ("" if small is None else f" -> {small['bytes'] / 1e3:,.0f}"),
        f"{seconds:.0f}",
    ]

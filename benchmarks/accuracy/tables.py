"""Tables: outcomes in, lines of Markdown out; nothing is measured here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from statsmodels.stats.weightstats import DescrStatsW

from benchmarks.accuracy.screening_cost import ScreeningCost
from benchmarks.accuracy.trial import Outcome
from edgeprune.core.report import Quality

Line = Mapping[str, Any]
_BATCH = 128
"""Of lines from before they said so."""


def training_free_table(rows: Sequence[Outcome]) -> list[str]:
    """The network as it is first."""
    whole = rows[0].macs
    lines = [
        "| | MACs | fewer | top-1 % | interval | seconds | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds = f"{row.seconds:.0f}" if row.seconds else ""
        lines.append(
            f"| {row.name} | {row.macs / 1e6:.2f} M | {whole / row.macs:.2f}x | {_accuracy(row.quality)} | "
            f"{seconds} | {row.extra['peak_gb']:.2f} GB |"
        )
    return lines


def criteria_table(untouched: Quality, rows: Sequence[Outcome], default: str) -> list[str]:
    """Best after the refit first; the default is marked."""
    lines = [
        "| criterion | after the cut | after the refit | interval | divergence | seconds |",
        "|---|---|---|---|---|---|",
        f"| (untouched) | {untouched.top1:.2f} | {_accuracy(untouched)} | 0 | |",
    ]
    for row in sorted(rows, key=lambda row: -row.quality.top1):
        assert row.cut is not None
        name = f"**{row.name}** (default)" if row.name == default else row.name
        lines.append(
            f"| {name} | {row.cut.top1:.2f} | {_accuracy(row.quality)} | {row.divergence:.4f} | "
            f"{row.seconds:.0f} |"
        )
    return lines


def draws_table(found: Mapping[str, Mapping[str, Sequence[float]]], default: str) -> list[str]:
    """Accuracies by criterion, network and draw; the best mean first, all compared with the default."""
    networks = [*next(iter(found.values()))]
    lines = [
        f"| criterion | {' | '.join(networks)} | mean | beside the default | interval |",
        f"|---|{'---|' * len(networks)}---|---|---|",
    ]
    for name in sorted(found, key=lambda one: -_mean_of(found[one])):
        cells = [f"{mean(draws):.2f} ({stdev(draws):.2f})" for draws in found[name].values()]
        cells.append(f"{_mean_of(found[name]):.2f}")
        if name == default or default not in found:
            cells += ["", ""]
        else:
            ahead = np.subtract(*([*itertools.chain(*found[one].values())] for one in (name, default)))
            low, high = DescrStatsW(ahead).tconfint_mean()
            cells += [f"{ahead.mean():+.2f}", f"{low:+.2f} to {high:+.2f}"]
        marked = f"**{name}** (default)" if name == default else name
        lines.append(f"| {marked} | {' | '.join(cells)} |")
    return lines


def ablation_table(rows: Sequence[Outcome], missing: Mapping[str, str]) -> list[str]:
    """The default first, the others with what they lose against it."""
    whole = rows[0].quality.top1
    lines = [
        "| | top-1 % | interval | against the default | divergence | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        divergence = "" if row.divergence is None else f"{row.divergence:.4f}"
        change = "" if row is rows[0] else f"{row.quality.top1 - whole:+.2f}"
        lines.append(
            f"| {row.name} | {_accuracy(row.quality)} | {change} | {divergence} | {row.seconds:.0f} |"
        )
    return [*lines, *(f"| {name} | not measured: no {places} | | | | |" for name, places in missing.items())]


def recovery_table(lines: Iterable[Line]) -> list[str]:
    """Runs that differ in their seed only are one row: mean and standard deviation over the seeds."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        fewer = round(line["macs"][0] / line["macs"][1], 2)
        key = (line["cut"]["network"], line["cut"]["speedup"], line["epochs"], line["row"], line["device"])
        course = (line["rate"], line.get("batch", _BATCH), line.get("beside", 0))
        groups.setdefault((*key, line["images"], *course, fewer), []).append(line)
    table = [
        "| network | fewer MACs | epochs | | seeds | top-1 before % | top-1 % | sd | learning rate | batch | "
        "training images | seconds | machine |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, runs in sorted(groups.items(), key=_place):
        network, _, epochs, row, device, _, rate, batch, beside, fewer = key
        found = [run["top1"] for run in runs]
        spread = f"{stdev(found):.2f}" if len(found) > 1 else "one seed"
        table.append(
            f"| {network} | {fewer:.2f}x | {epochs} | {row} | {len(runs)} | "
            f"{mean(run['top1_before'] for run in runs):.2f} | {mean(found):.2f} | {spread} | {rate:g} | "
            f"{batch} | {runs[0]['finetuning']['images']:,} | {mean(run['seconds'] for run in runs):.0f}"
            f"{f', {beside + 1} at once' if beside else ''} | {device} |"
        )
    return table


def read_lines(path: Path) -> list[Line]:
    """The runs that a file of JSON lines holds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def screening_table(rows: Sequence[ScreeningCost]) -> list[str]:
    """One row per network."""
    lines = [
        "| network | images | plain pass | with statistics | ratio | channels x classes | kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.network} | {row.images:,} | {row.plain_s:.2f} s | {row.screening_s:.2f} s | "
            f"{row.ratio:.2f} | {row.channels} x {row.classes} | {row.kept_bytes:,} bytes |"
        )
    return lines


def _place(group: tuple[tuple[Any, ...], object]) -> tuple[str, ...]:
    """By network, budget, epochs, then as the rows' names sort."""
    network, speedup, epochs, row, device, *rest = group[0]
    return (network, f"{speedup:09.3f}", f"{epochs:06d}", row.lower(), device, *map(str, rest))


def _mean_of(networks: Mapping[str, Sequence[float]]) -> float:
    return mean(mean(draws) for draws in networks.values())


def _accuracy(quality: Quality) -> str:
    low, high = quality.interval
    return f"{quality.top1:.2f} | {low:.2f}-{high:.2f}"

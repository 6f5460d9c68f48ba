"""Rows: what came of a trial, kept so that an interrupted table goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from benchmarks.accuracy.scale import Scale
from benchmarks.accuracy.trial import Outcome
from benchmarks.kept import digest, keep, read
from edgeprune.core.report import Quality

_BENCHMARK = "accuracy"
_SOURCES = ("edgeprune", "benchmarks/accuracy")


def row(section: str, name: str, scale: Scale, measure: Callable[[], Outcome]) -> Outcome:
    """What is kept of a row that this code measured at this scale; else measured, and kept."""
    sources, part = f"{digest(_SOURCES)} {scale}", f"{section}-{name.replace(' ', '-')}"
    kept = read(_BENCHMARK, part)
    if kept is None or kept["sources"] != sources:
        found = asdict(measure())
        for quality in ("cut", "quality"):
            found[quality] = found[quality] and found[quality].model_dump(mode="json")
        keep(_BENCHMARK, part, {"outcome": found}, sources)
        kept = read(_BENCHMARK, part)
        assert kept is not None
    held = dict(kept["outcome"])
    for quality in ("cut", "quality"):
        held[quality] = held[quality] and Quality.model_validate(held[quality])
    return Outcome(**held)

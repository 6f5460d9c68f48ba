"""Kept results: one file per part of a benchmark, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Result = dict[str, Any]
"""What was found, with `taken` (when) and `sources` (by which code)."""


def digest(places: Sequence[str]) -> str:
    """A hash of all Python files in these files and folders of the repository."""
    found = hashlib.sha256()
    for place in (ROOT / one for one in places):
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def to_measure(benchmark: str, parts: Sequence[str], asked: Sequence[str], sources: str) -> list[str]:
    """The parts that were asked for, or else those of which nothing is kept that these sources measured."""
    for name in asked:
        if name not in parts:
            near = get_close_matches(name, parts, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"its parts: {', '.join(parts)}"
            sys.exit(f"error: '{name}' is no part of this benchmark\nhint: {hint}")
    kept = {name: read(benchmark, name) for name in parts}
    return list(asked) or [name for name, one in kept.items() if not one or one["sources"] != sources]


def read(benchmark: str, part: str) -> Result | None:
    """What is kept of a part, by whatever sources."""
    file = _file(benchmark, part)
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def keep(benchmark: str, part: str, found: Result, sources: str) -> None:
    """Keep what was found, whole or not at all."""
    file = _file(benchmark, part)
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".new")
    result = found | {"taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "sources": sources}
    scratch.write_text(json.dumps(result, indent=1), encoding="utf-8")
    scratch.replace(file)


def _file(benchmark: str, part: str) -> Path:
    return ROOT / "build" / benchmark / f"{part}.json"

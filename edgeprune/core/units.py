"""Quantities as people write them: input sizes, counts, ratios, byte sizes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeprune.core.errors import RequestError

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_shape(text: str) -> tuple[int, ...]:
    """Sizes of one input without its batch axis: '3x224x224' -> (3, 224, 224)."""
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RequestError(
            f"--input '{text}' is not a size", hint="write channels x height x width: 3x224x224"
        )
    return tuple(int(part) for part in parts)


def format_shape(shape: tuple[int, ...]) -> str:
    """The inverse of `parse_shape`."""
    return "x".join(str(size) for size in shape)


def parse_count(text: str, *, option: str) -> int:
    """A count as people write it: '60M', '1500k', '1234'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)", text.strip().lower())
    count = int(float(match[1]) * _SUFFIXES[match[2]]) if match else 0
    if count == 0:
        raise RequestError(f"{option} '{text}' is not a count", hint="write it like 60M, 1500k or 1234")
    return count


def parse_milliseconds(text: str, *, option: str) -> float:
    """A duration as people write it: '40ms', '1.5 s', '250us'."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s)", text.strip().lower())
    found = float(match[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[match[2]] if match else 0.0
    if found == 0:
        raise RequestError(f"{option} '{text}' is not a duration", hint="write it like 40ms, 1.5s or 250us")
    return found


def format_milliseconds(value: float | None) -> str:
    """A latency to three digits or so: `12.35`, `0.123`; `-` where there is none."""
    return "-" if value is None else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def format_ranges(numbers: Sequence[int], *, limit: int = 6) -> str:
    """Ascending numbers in short: (0, 1, 2, 5) -> '0-2 5'; beyond `limit` runs only how many there are."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    shown = " ".join("-".join(map(str, run)) for run in runs[:limit])
    return shown if len(runs) <= limit else f"{shown} ... ({len(numbers)} in all)"


def format_count(count: float) -> str:
    """A count with three significant digits: 126000000 -> '126 M'."""
    for size, suffix in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if count >= 0.9995 * size:  # less would be rounded to 1e+03 of the smaller unit
            return f"{count / size:.3g}{suffix}"
    return f"{count:.0f}"


def format_points(points: float) -> str:
    """Points of accuracy as they were asked for: 1 -> '1 point', 0.5 -> '0.5 points'."""
    return f"{points:g} point{'' if points == 1 else 's'}"


def format_operator(name: str) -> str:
    """An ATen operator as people call it: 'aten.conv2d.default' -> 'conv2d'."""
    return name.removeprefix("aten.").partition(".")[0] if name.startswith("aten.") else name


def format_bytes(size: int) -> str:
    """A file size in decimal units: 3500000 -> '3.5 MB'."""
    for unit, suffix in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {suffix}"
    return f"{size} B"


def format_seconds(seconds: float) -> str:
    """A duration for people: 75.2 -> '1 min 15 s', 3.21 -> '3.2 s'."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    return f"{seconds:.1f} s"

"""Decibels: how far a signal stands above its noise."""

from __future__ import annotations

import math

_FLOOR = -300.0
"""What noise without bounds is given: outputs that are not finite."""


def decibels(signal: float, noise: float) -> float | None:
    """Signal power over noise power; None where there is no noise."""
    if noise == 0:
        return None
    if not math.isfinite(noise) or signal <= 0:
        return _FLOOR
    return round(10 * math.log10(signal / noise), 2)

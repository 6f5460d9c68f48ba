"""Decibels are powers of ten of power; no noise has none, and noise without bounds the floor."""

from __future__ import annotations

import pytest

from edgeprune.core.decibels import decibels


@pytest.mark.parametrize(
    ("signal", "noise", "found"),
    [
        (100.0, 1.0, 20.0),
        (1.0, 1.0, 0.0),
        (1.0, 2.0, -3.01),
        (3.0, 0.0, None),
        (0.0, 0.0, None),
        (0.0, 1.0, -300.0),
        (1.0, float("inf"), -300.0),
        (1.0, float("nan"), -300.0),
    ],
)
def test_signal_over_noise(signal: float, noise: float, found: float | None) -> None:
    assert decibels(signal, noise) == found

"""Timed: durations of single calls, taken warm, as every session that runs in this process takes them."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(call: Callable[[], object], *, warmup: int, runs: int) -> list[int]:
    """Durations of `runs` calls after `warmup` others, nanoseconds."""
    for _ in range(warmup):
        call()
    samples = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        call()
        samples.append(time.perf_counter_ns() - start)
    return samples

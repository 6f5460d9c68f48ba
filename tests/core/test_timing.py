"""Every statistic of a timing follows from its samples, and says how sure it is."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgeprune.core.errors import DocumentError
from edgeprune.core.timing import Timing, bootstrap_medians


def timing(samples: list[int]) -> Timing:
    return Timing(samples_ns=tuple(samples), warmup=3, threads=2)


def test_quantiles_are_those_of_the_samples_in_milliseconds() -> None:
    taken = timing([million * 1_000_000 for million in (100, *range(99, 0, -1))])
    assert (taken.p50_ms, taken.p90_ms, taken.p95_ms, taken.p99_ms) == (50.5, 90.1, 95.05, 99.01)
    assert taken.quantile_ms(0) == 1
    assert taken.quantile_ms(1) == 100


def test_a_single_sample_is_its_own_median_and_interval() -> None:
    taken = timing([1_234_567])
    assert (taken.p50_ms, taken.p50_interval_ms) == (1.234567, (1.234567, 1.234567))


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    series = 300
    covered = 0
    for _ in range(series):
        samples = np.rint(1e6 * random.lognormal(0.0, 0.2, 41)).astype(int)
        low, high = timing(samples.tolist()).p50_interval_ms
        covered += low <= 1.0 <= high
    # 95 % of 300, give or take three standard deviations of a binomial count.
    assert abs(covered - 0.95 * series) <= 3 * math.sqrt(series * 0.95 * 0.05)


def test_the_interval_shrinks_with_the_square_root_of_the_samples() -> None:
    random = np.random.default_rng(1)
    widths = []
    for size in (50, 800):
        low, high = timing(np.rint(random.normal(1e6, 1e5, size)).astype(int).tolist()).p50_interval_ms
        widths.append(high - low)
    assert 2 < widths[0] / widths[1] < 8


def test_resampling_is_seeded() -> None:
    samples = (3, 1, 4, 1, 5, 9)
    assert (bootstrap_medians(samples) == bootstrap_medians(samples)).all()
    assert (bootstrap_medians(samples) != bootstrap_medians(samples, seed=1)).any()


def test_a_written_timing_carries_its_statistics_and_comes_back_equal() -> None:
    taken = timing([2_000_000, 1_000_000, 3_000_000])
    written = json.loads(taken.to_json())
    assert written == {
        "samples_ns": [2_000_000, 1_000_000, 3_000_000],
        "warmup": 3,
        "threads": 2,
        "p50_ms": 2.0,
        "p90_ms": 2.8,
        "p95_ms": 2.9,
        "p99_ms": 2.98,
        "p50_interval_ms": [1.0, 3.0],
    }
    assert Timing.parse(written, source="") == taken


def test_statistics_that_were_edited_are_derived_again() -> None:
    written = json.loads(timing([1_000_000]).to_json()) | {"p50_ms": 0.001}
    assert Timing.parse(written, source="").p50_ms == 1.0


def test_a_timing_without_samples_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        Timing.parse({"samples_ns": [], "warmup": 0, "threads": 0}, source="a.json")
    assert caught.value.message == (
        "a.json: 2 faults\n"
        "  samples_ns: tuple should have at least 1 item after validation, not 0\n"
        "  threads: input should be greater than 0"
    )

"""A histogram keeps the extremes exactly, and each method chooses the range that it is known for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeprune.core.ranges import METHODS, Histogram, Method, Range, chosen

Floats = NDArray[np.float32]


def seen(*tensors: Floats) -> Histogram:
    histogram = Histogram()
    for values in tensors:
        histogram.add(values)
    return histogram


def normal(count: int = 20_000, *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def with_outlier(value: float = 100.0) -> Floats:
    return np.append(normal(), np.float32(value))


def error_of(values: Floats, found: Range) -> float:
    """Mean squared error of the values in 256 levels between two ends, computed the slow way."""
    low, high = found
    step = (high - low) / 255
    rounded = np.clip(np.round((values - low) / step), 0, 255) * step + low
    return float(np.square(rounded - values).mean())


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_the_range_of_zero(method: Method) -> None:
    assert seen(np.zeros((1, 3, 4), np.float32)).range(method) == (0, 0)
    assert seen(np.empty((0, 3), np.float32)).range(method) == (0, 0)
    assert Histogram().range(method) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sign", [1, -1])
def test_zero_always_lies_within(method: Method, sign: int) -> None:
    low, high = seen(sign * (5 + np.abs(normal()))).range(method)
    assert low <= 0 <= high
    assert (low if sign > 0 else high) == 0


@pytest.mark.parametrize("method", METHODS)
def test_no_range_reaches_beyond_what_was_seen(method: Method) -> None:
    values = normal()
    low, high = seen(values).range(method)
    assert values.min() <= low < 0 < high <= values.max()


def test_min_max_is_exact_where_only_a_part_of_a_large_tensor_is_counted() -> None:
    values = normal(200_000)
    values[77_777], values[77_778] = 31.4, -27.1
    assert seen(values).range("min-max") == (float(np.float32(-27.1)), float(np.float32(31.4)))


def test_bins_that_widen_hold_the_same_counts_as_bins_that_were_wide_at_once() -> None:
    small, large = normal(), 1000 * normal(seed=1)
    for method in METHODS:
        assert seen(small, large).range(method) == pytest.approx(seen(large, small).range(method), rel=1e-2)


def test_a_percentile_range_leaves_a_lone_outlier_out() -> None:
    low, high = seen(with_outlier()).range("percentile")
    assert low == pytest.approx(-4, abs=0.5)
    assert high == pytest.approx(4, abs=0.5)


def test_a_percentile_range_cuts_off_the_share_it_says() -> None:
    values = np.linspace(0, 1, 30_000, dtype=np.float32)
    low, high = seen(values).range("percentile")
    # 0.005 % of the values, to a bin: bins are 1 / 2048 wide here.
    assert (low, high) == pytest.approx((0, 1), abs=2 / 2048)


@pytest.mark.parametrize("outlier", [6.0, 30.0, 100.0])
def test_the_mse_range_errs_less_than_all_that_was_seen_and_about_as_little_as_can_be(outlier: float) -> None:
    values = with_outlier(outlier)
    histogram = seen(values)
    found = histogram.range("mse")
    ends = np.linspace(0.02, 1, 50)
    least = min(error_of(values, (histogram.lowest, float(end * histogram.highest))) for end in ends)
    assert error_of(values, found) <= error_of(values, histogram.range("min-max"))
    assert error_of(values, found) <= 1.1 * least


def test_the_mse_range_keeps_even_spread_values_whole() -> None:
    values = np.linspace(-1, 1, 30_000, dtype=np.float32)
    assert seen(values).range("mse") == pytest.approx((-1, 1), abs=0.02)


def test_the_entropy_range_clips_a_long_tail_and_keeps_even_spread_values() -> None:
    tail = np.random.default_rng(0).laplace(size=30_000).astype(np.float32)
    histogram = seen(tail)
    low, high = histogram.range("entropy")
    assert high < 0.9 * histogram.highest
    assert 3 < high == -low
    even = np.linspace(-1, 1, 30_000, dtype=np.float32)
    assert seen(even).range("entropy") == pytest.approx((-1, 1), abs=0.05)


def test_zeros_that_a_rectifier_leaves_do_not_draw_the_entropy_range_together() -> None:
    values = np.maximum(normal(3000), 0)
    many = np.concatenate([values, np.zeros(9 * len(values), np.float32)])
    assert seen(many).range("entropy") == pytest.approx(seen(values).range("entropy"), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_values_that_are_not_finite_are_not_counted(method: Method) -> None:
    values = normal()
    spoiled = np.concatenate([values, np.array([np.nan, np.inf, -np.inf], np.float32)])
    assert seen(spoiled).range(method) == seen(values).range(method)
    assert seen(np.full(3, np.nan, np.float32)).range(method) == (0, 0)


def test_tiny_values_are_told_apart_as_well_as_large_ones() -> None:
    values = normal()
    for scale in (2.0**-60, 2.0**60):
        for method in METHODS:
            low, high = seen(values).range(method)
            scaled = seen((values * scale).astype(np.float32)).range(method)
            assert scaled == pytest.approx((low * scale, high * scale), rel=1e-5)


def test_every_tensor_gets_its_range() -> None:
    one, other = seen(normal()), seen(np.zeros(3, np.float32))
    assert chosen({"a": one, "b": other}, "mse") == {"a": one.range("mse"), "b": (0, 0)}

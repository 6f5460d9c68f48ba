"""Quantities are read and written as people write them."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.units import (
    format_bytes,
    format_count,
    format_operator,
    format_ranges,
    format_seconds,
    format_shape,
    parse_count,
    parse_milliseconds,
    parse_shape,
)


@pytest.mark.parametrize("text", ["3x224x224", "64", "1x8x8"])
def test_a_size_is_read_and_written_alike(text: str) -> None:
    assert format_shape(parse_shape(text)) == text


def test_a_size_may_use_a_capital_x() -> None:
    assert parse_shape("3X32x16") == (3, 32, 16)


@pytest.mark.parametrize("text", ["", "3x", "3x0x8", "3*8*8", "-3x8x8", "3x8.5", "3x8²"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_shape(text)
    assert caught.value.message == f"--input '{text}' is not a size"
    assert caught.value.hint == "write channels x height x width: 3x224x224"


@pytest.mark.parametrize(
    ("text", "count"), [("1234", 1234), ("60M", 60_000_000), ("1.5k", 1500), (" 2 g ", 2_000_000_000)]
)
def test_a_count_may_have_a_suffix(text: str, count: int) -> None:
    assert parse_count(text, option="--macs") == count


@pytest.mark.parametrize("text", ["", "0", "0.4", "-5", "60MB", "1e6"])
def test_what_is_not_a_count_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_count(text, option="--macs")
    assert caught.value.message == f"--macs '{text}' is not a count"
    assert caught.value.hint == "write it like 60M, 1500k or 1234"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (125_485_706, "125 M"),
        (999_400, "999 k"),
        (999_600, "1 M"),
        (4_089_184_256, "4.09 G"),
    ],
)
def test_a_count_has_three_digits(count: int, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (3_500_000, "3.5 MB"), (2_000_000_000, "2.0 GB")]
)
def test_bytes_are_counted_in_decimal_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (3.21, "3.2 s"), (75.2, "1 min 15 s"), (3599.9, "60 min 0 s")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_operators_lose_their_namespace_and_overload() -> None:
    assert format_operator("aten.conv2d.default") == "conv2d"
    assert format_operator("_operator.getitem") == "_operator.getitem"
    assert format_operator("output") == "output"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((), ""),
        ((3,), "3"),
        ((0, 1, 2, 5), "0-2 5"),
        ((0, 2, 4, 6, 8, 10), "0 2 4 6 8 10"),
        (tuple(range(0, 64, 2)), "0 2 4 6 8 10 ... (32 in all)"),
    ],
)
def test_runs_of_numbers_are_written_in_short(numbers: tuple[int, ...], text: str) -> None:
    assert format_ranges(numbers) == text


@pytest.mark.parametrize(("text", "ms"), [("40ms", 40), ("1.5 s", 1500), ("250us", 0.25), ("40MS", 40)])
def test_a_duration_is_read(text: str, ms: float) -> None:
    assert parse_milliseconds(text, option="--latency-budget") == ms


@pytest.mark.parametrize("text", ["", "40", "ms", "-4ms", "0ms", "4m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not a duration"):
        parse_milliseconds(text, option="--latency-budget")

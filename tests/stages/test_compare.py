"""Two reports are compared file by file, and a verdict is only given where the samples carry it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from core.documents import a_report, delivered, measured

from edgeprune.core.comparison import Comparison, Row
from edgeprune.core.report import DeliveredArtifact, Latency, Quality
from edgeprune.stages.compare import compare
from edgeprune.stages.compare import measured as taken


def samples(milliseconds: float, *, seed: int, spread: float = 0.05, count: int = 300) -> Latency:
    random = np.random.default_rng(seed)
    drawn = 1e6 * milliseconds * random.lognormal(0, spread, count)
    return measured(samples=tuple(np.rint(drawn).astype(int).tolist()))


def compared(before: Latency | None, after: Latency | None) -> Row:
    old, new = a_report(delivered(here=before)), a_report(delivered(here=after))
    (row,) = compare(old, new, names=("old", "new")).rows
    return row


@pytest.mark.parametrize(
    ("after", "verdict"), [(1.0, "faster"), (1.9, "faster"), (2.1, "slower"), (4.0, "slower")]
)
def test_a_difference_larger_than_the_noise_is_a_verdict(after: float, verdict: str) -> None:
    row = compared(samples(2.0, seed=1), samples(after, seed=2))
    assert row.verdict == verdict
    assert row.ratio == pytest.approx(after / 2.0, rel=0.02)
    assert row.interval is not None
    assert row.interval[0] < after / 2.0 < row.interval[1]


def test_a_difference_within_the_noise_is_none() -> None:
    row = compared(samples(2.0, seed=1, spread=0.5, count=40), samples(2.05, seed=2, spread=0.5, count=40))
    assert row.verdict == "indistinguishable"
    assert row.interval is not None
    assert row.interval[0] <= 1 <= row.interval[1]


def test_a_machine_without_difference_is_rarely_said_to_have_one() -> None:
    wrong = sum(
        compared(
            samples(1.0, seed=2 * pair, spread=0.2, count=60),
            samples(1.0, seed=2 * pair + 1, spread=0.2, count=60),
        ).verdict
        != "indistinguishable"
        for pair in range(60)
    )
    assert wrong <= 8  # 5 % of 60 is 3; nine or more would come once in 300 times


@pytest.mark.parametrize("missing", [None, Latency(kind="predicted", device="board", p50_ms=1.0)])
def test_what_was_not_measured_has_no_verdict(missing: Latency | None) -> None:
    for row in (compared(missing, measured()), compared(measured(), missing), compared(missing, missing)):
        assert (row.verdict, row.ratio, row.interval) == ("not measured", None, None)


def test_a_measurement_on_the_target_counts_before_one_on_this_machine() -> None:
    there, here = measured(milliseconds=3), measured(milliseconds=1)
    assert taken(delivered(there=there, here=here)) == there
    assert taken(delivered(here=here)) == here
    assert taken(delivered()) is None


def test_files_are_matched_by_format_and_precision() -> None:
    def report(*kinds: tuple[str, str]) -> list[DeliveredArtifact]:
        return [delivered(precision, format, here=measured()) for format, precision in kinds]

    old = a_report(*report(("onnx", "fp32"), ("onnx", "int8-static"), ("tflite", "fp32")))
    new = a_report(*report(("tflite", "fp32"), ("tflite", "fp16"), ("onnx", "fp32")))
    found = compare(old, new, names=("runs/old", "runs/new"))
    assert [(row.format, row.precision) for row in found.rows] == [("onnx", "fp32"), ("tflite", "fp32")]
    assert (found.only_before, found.only_after) == (("onnx int8-static",), ("tflite fp16",))
    assert (found.before, found.after) == ("runs/old", "runs/new")


def test_sizes_accuracy_and_medians_stand_side_by_side() -> None:
    old = delivered(here=measured(milliseconds=2))
    new = delivered(here=measured(milliseconds=1), quality=None).model_copy(update={"bytes": 99})
    (row,) = compare(a_report(old), a_report(new), names=("a", "b")).rows
    assert row == Row(
        format="onnx",
        precision="fp32",
        bytes_before=4321,
        bytes_after=99,
        top1_before=91.5,
        top1_after=None,
        p50_ms_before=2.0,
        p50_ms_after=1.0,
        ratio=0.5,
        interval=row.interval,
        verdict="faster",
    )


def test_a_change_in_accuracy_has_an_interval() -> None:
    old, new = (
        delivered(quality=Quality(top1=top1, images=1_000, interval=wilson(top1 / 100)))
        for top1 in (92.0, 89.0)
    )
    (row,) = compare(a_report(old), a_report(new), names=("a", "b")).rows
    # Newcombe 1998, method 10: the distances of both shares to their own Wilson limits, squared and added.
    (low, high), (least, most) = wilson(0.92), wilson(0.89)
    below, above = math.hypot(89 - least, high - 92), math.hypot(most - 89, 92 - low)
    assert row.top1_change == pytest.approx((-3 - below, -3 + above), abs=0.01)


def wilson(share: float, images: int = 1_000) -> tuple[float, float]:
    z = 1.959964
    middle = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    low, high = ((middle + sign * half) / (1 + z**2 / images) for sign in (-1, 1))
    return 100 * low, 100 * high


def test_reports_of_two_machines_say_so() -> None:
    one, other = a_report(), a_report(cpu="another cpu")
    assert compare(one, one, names=("a", "b")).same_device
    found = compare(one, other, names=("a", "b"))
    assert not found.same_device
    assert Comparison.parse(found.model_dump(mode="json"), source="") == found

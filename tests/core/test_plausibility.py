"""What is not to be believed is invalid with its reason."""

from __future__ import annotations

import pytest

from core.device_documents import RUN
from edgeprune.core.device_run import DeviceRun, MachineState
from edgeprune.core.plausibility import implausible
from edgeprune.core.target import find_target
from edgeprune.core.timing import Timing

PI = find_target("rpi4")


def timing(milliseconds: float, *, threads: int = 4, slow: int = 0) -> Timing:
    """A hundred samples, some of which take ten times as long."""
    one = round(milliseconds * 1e6)
    return Timing(samples_ns=(one,) * (100 - slow) + (10 * one,) * slow, warmup=20, threads=threads)


def test_an_ordinary_measurement_is_believed() -> None:
    assert implausible(timing(100), target=PI, macs=300_000_000, deviation=1e-6) == ""


def test_nothing_multiplies_faster_than_its_cores() -> None:
    # 47.883 GFLOPS are 23.9 GMAC/s; with Winograd's saving 53.9.
    assert implausible(timing(6), target=PI, macs=300_000_000) == ""
    assert implausible(timing(5), target=PI, macs=300_000_000) == (
        "faster than its cores can multiply: 60 GMAC/s, at most 23.9 by their peak"
    )


def test_int8_may_be_faster_than_float_and_elsewhere_nothing_is_known() -> None:
    for precision in ("int8-static", "int8w-int16a", "int4-weight-only"):
        assert implausible(timing(5), target=PI, precision=precision, macs=300_000_000) == ""
    assert implausible(timing(5), target=None, macs=300_000_000) == ""
    assert implausible(timing(5), target=PI, macs=None) == ""


def test_the_peak_of_one_core_counts_for_each_thread() -> None:
    x86 = find_target("x86-64")
    two, one = timing(0.5, threads=2), timing(0.5, threads=1)
    assert implausible(two, target=x86, macs=390_000_000) == ""
    assert implausible(one, target=x86, macs=390_000_000).startswith("faster than its cores can multiply: ")


def test_a_machine_that_does_something_else_is_too_noisy() -> None:
    assert implausible(timing(1, slow=9)) == ""
    assert implausible(timing(1, slow=30)) == "far too noisy: p90 is 10.0 times p50"


@pytest.mark.parametrize(("deviation", "words"), [(0.3, "30 % off"), (None, "in another shape")])
def test_another_answer_is_another_network(deviation: float | None, words: str) -> None:
    assert implausible(timing(1), deviation=deviation) == (
        f"the file answers otherwise there than here ({words})"
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0x0, 0x0, ""),
        (0xF0000, 0xF0000, ""),  # since boot, before the measurement: nothing of it
        (0x0, 0x50000, "under-voltage, throttled"),
        (0x4, 0x4, "throttled"),
        (None, None, ""),
    ],
)
def test_throttling_counts_where_it_happened_while_measuring(
    before: int | None, after: int | None, words: str
) -> None:
    assert run(MachineState(throttled_bits=before), MachineState(throttled_bits=after)).throttled == words


def test_events_of_heat_are_counted() -> None:
    found = run(MachineState(throttle_events=3), MachineState(throttle_events=5)).throttled
    assert found == "slowed down for heat 2 times"
    assert implausible(timing(1), throttled=found) == f"the device was slowed down: {found}"


def run(before: MachineState, after: MachineState) -> DeviceRun:
    return RUN.model_copy(update={"before": before, "after": after})

"""What benchmarks keep, and what they measure again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kept

PARTS = ("disk", "clock")


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "ROOT", tmp_path)


def test_parts_that_other_sources_measured_are_measured_again_and_shown_until_then() -> None:
    kept.keep("faults", "disk", {"cases": 3}, "now")
    kept.keep("faults", "clock", {"cases": 2}, "before")
    assert kept.to_measure("faults", PARTS, [], "now") == ["clock"]
    assert kept.read("faults", "clock")["cases"] == 2  # type: ignore[index]


def test_parts_that_are_named_are_measured_again() -> None:
    kept.keep("faults", "disk", {"cases": 3}, "now")
    assert kept.to_measure("faults", PARTS, ["disk"], "now") == ["disk"]


def test_a_part_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stop:
        kept.to_measure("faults", PARTS, ["clok"], "now")
    assert stop.value.code == "error: 'clok' is no part of this benchmark\nhint: did you mean 'clock'?"

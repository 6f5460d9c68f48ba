"""What people read of a report: where exactness does not hold is said beside the proof."""

from __future__ import annotations

from pathlib import Path

import pytest
from core.documents import a_report

from edgeprune.cli import render
from edgeprune.core.report import Report

BROKEN = (
    "exactness does not hold for {} under {}: the norm's statistics are those of the kept channels; "
    "the proof compares with the original in which the cut channels are left out of the statistics"
)


def printed(document: Report, capfd: pytest.CaptureFixture[str]) -> list[str]:
    render.report(document, folder=Path("run"))
    return capfd.readouterr().out.splitlines()


def with_inexact(**inexact: tuple[str, ...]) -> Report:
    whole = a_report()
    return whole.model_copy(update={"proof": whole.proof.model_copy(update={"inexact": inexact})})


def test_groups_that_were_cut_inexactly_are_counted_by_operator(capfd: pytest.CaptureFixture[str]) -> None:
    lines = printed(
        with_inexact(stem=("layer_norm",), body=("group_norm", "layer_norm"), last=("layer_norm",)), capfd
    )
    place = next(number for number, line in enumerate(lines) if line.startswith("proof: "))
    assert lines[place + 1 : place + 3] == [
        BROKEN.format("1 group", "group_norm"),
        BROKEN.format("3 groups", "layer_norm"),
    ]


def test_an_exact_run_says_nothing_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert not [line for line in printed(with_inexact(), capfd) if line.startswith("exactness")]


def test_bounds_are_answered_with_the_trials_that_led_there(capfd: pytest.CaptureFixture[str]) -> None:
    lines = printed(a_report(), capfd)
    place = next(number for number, line in enumerate(lines) if line.startswith("searched: "))
    assert lines[place : place + 4] == [
        "searched: the smallest cut within 1 point at 90 % on 200 selection images",
        "     10 k MACs   1.00 [-2.16, 4.43]  does not hold (50.0 %), 2.5 s",
        "drop within 1 point at 90 % on the test images: undecided (50.0 %)",
        "size: model.onnx has 2.0 kB of 9.0 kB, foretold 2.2 kB at most",
    ]

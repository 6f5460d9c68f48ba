"""What people read of a report: where exactness does not hold is said beside the proof."""

from __future__ import annotations

from pathlib import Path

import pytest
from core.documents import QUANTIZATION, THINNED, a_report, delivered, measured

from edgeprune.cli.outcome import outcome
from edgeprune.core.report import Report

BROKEN = (
    "exactness does not hold for {} under {}: the norm's statistics are those of the kept channels; "
    "the proof compares with the original in which the cut channels are left out of the statistics"
)


def printed(document: Report, capfd: pytest.CaptureFixture[str]) -> list[str]:
    outcome(document, folder=Path("run"))
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


def test_what_every_operator_in_float32_bought_and_cost_is_told_behind_the_table(
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = delivered("int8-static", here=measured()).model_copy(update={"quantization": QUANTIZATION})
    lines = printed(a_report(file), capfd)
    place = next(number for number, line in enumerate(lines) if line.startswith("model.int8-static.onnx: "))
    assert lines[place : place + 4] == [
        "model.int8-static.onnx: mse ranges; with all 7 operators in integers 30.00 points [24.07, 36.68] "
        "are lost on 200 selection images, more than the 1 allowed",
        "  Conv Relu stem and 1 more in float32: 30.00 -> 15.00 points lost, 4.3 kB -> 5.0 kB, 0.500 -> - ms",
        "  Conv node_conv2d_1 in float32: 15.00 -> 1.00 points lost, 5.0 kB -> 6.0 kB, - -> 0.750 ms",
        "latency: measured on this machine, box (a cpu); not measured on the board",
    ]


def test_a_file_that_holds_as_it_is_has_no_ledger(capfd: pytest.CaptureFixture[str]) -> None:
    whole = QUANTIZATION.model_copy(update={"fallbacks": ()})
    file = delivered("int8-static", here=measured()).model_copy(update={"quantization": whole})
    assert not [line for line in printed(a_report(file), capfd) if "in integers" in line]


def test_a_run_that_took_connections_away_says_what_is_left_and_what_zeros_are_worth(
    capfd: pytest.CaptureFixture[str],
) -> None:
    packed = delivered(here=measured()).model_copy(update={"deflated": 1234})
    lines = printed(a_report(packed, thinned=THINNED), capfd)
    place = next(number for number, line in enumerate(lines) if line.startswith("connections: "))
    assert lines[place : place + 5] == [
        "connections: 116 -> 58 (2x fewer), 64 parameters are not zero; 1 unit that nothing read was removed",
        "left in: body.weight 54, head.weight 4",
        "zeros make files smaller once they are packed, not faster: the kernels of onnxruntime "
        "multiply them like any other number",
        "whether the kernels of other skip zeros is not known: `speed` says what files gain",
        "published for engines that skip zeros: 1.4x (sparse_fp32_speedup); report.json names the sources",
    ]
    assert not [line for line in lines if line.startswith("proof: ")]
    (head,) = [line for line in lines if "agrees %" in line]
    (row,) = [line for line in lines if line.startswith(" model.onnx")]
    assert head.split()[:3] == ["file", "size", "packed"]
    assert row.split()[1:5] == ["4.3", "kB", "1.2", "kB"]


def test_a_run_that_cut_channels_has_no_column_of_packed_sizes(capfd: pytest.CaptureFixture[str]) -> None:
    assert not [line for line in printed(a_report(), capfd) if "packed" in line]

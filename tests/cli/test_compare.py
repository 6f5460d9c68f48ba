"""`edgeprune compare`: verdicts with intervals, and a gate for CI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Here

from edgeprune.core.plan import Cost
from edgeprune.core.report import (
    Costs,
    DeliveredArtifact,
    Deviation,
    Device,
    Latency,
    Proof,
    Qualities,
    Quality,
    Report,
)
from edgeprune.core.timing import Timing

Sizes = dict[tuple[str, str], tuple[float, float, int]]
"""Format and precision: p50 in ms, top-1, bytes."""

BEFORE: Sizes = {
    ("onnx", "fp32"): (2.0, 91.5, 400_000),
    ("onnx", "int8-static"): (1.0, 91.25, 110_000),
    ("tflite", "fp32"): (2.0, 91.5, 410_000),
}
AFTER: Sizes = {
    ("onnx", "fp32"): (1.0, 90.0, 200_000),
    ("onnx", "int8-static"): (1.5, 89.75, 60_000),
    ("tflite", "fp16"): (2.0, 90.0, 105_000),
}
TABLE = """\
 file              size                  top-1 %                      p50 ms        ratio              verdict
 onnx fp32         400.0 kB -> 200.0 kB  91.50 -> 90.00 [-4.1, +1.1]  2.00 -> 1.00  0.50 [0.50, 0.50]  faster
 onnx int8-static  110.0 kB -> 60.0 kB   91.25 -> 89.75 [-4.0, +1.2]  1.00 -> 1.50  1.50 [1.50, 1.50]  slower
only in before: tflite fp32
only in after: tflite fp16
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("before", BEFORE)
    write("after", AFTER)
    return tmp_path


def test_two_reports_side_by_side(here: Here, folders: Path) -> None:
    answer = here("compare", "before/report.json", "after/report.json")
    named = TABLE.replace("in before", "in before/report.json").replace("in after", "in after/report.json")
    assert (answer.code, answer.text, answer.err) == (0, named, "")


def test_run_folders_stand_for_their_reports(here: Here, folders: Path) -> None:
    by_folder, by_file = here("compare", "before", "after"), here("compare", "before/report.json", "after")
    assert by_folder.out == by_file.out


def test_json_prints_the_comparison(here: Here, folders: Path) -> None:
    document = json.loads(here("compare", "before", "after", "--json").out)
    assert document["kind"] == "comparison/1"
    assert [row["verdict"] for row in document["rows"]] == ["faster", "slower"]


def test_equal_files_are_indistinguishable(here: Here, folders: Path) -> None:
    write("again", {("onnx", "fp32"): (2.0, 91.5, 400_000)}, spread=0.2)
    answer = here("compare", "again", "again")
    assert answer.code == 0
    assert answer.text.splitlines()[1].endswith("  indistinguishable")


def test_another_machine_is_warned_about(here: Here, folders: Path) -> None:
    write("board", BEFORE, cpu="Cortex-A72")
    text = here("compare", "before", "board").text
    assert text.endswith("warning: the two reports were measured on different machines\n")


def test_a_slowdown_beyond_the_limit_gives_exit_code_1(here: Here, folders: Path) -> None:
    answer = here("compare", "before", "after", "--max-slowdown", "20")
    assert answer.code == 1
    assert answer.out == here("compare", "before", "after").out
    assert answer.err == (
        "error: slower by more than 20 %: onnx int8-static\n"
        "hint: the intervals above exclude a smaller slowdown\n"
    )


@pytest.mark.parametrize(("after", "limit"), [("after", "60"), ("before", "0")])
def test_a_slowdown_within_the_limit_passes(here: Here, folders: Path, after: str, limit: str) -> None:
    assert here("compare", "before", after, "--max-slowdown", limit).code == 0


def test_a_report_that_is_missing(here: Here, folders: Path) -> None:
    (folders / "empty").mkdir()
    for named, path in (("nowhere", "nowhere"), ("empty", "empty/report.json")):
        answer = here("compare", "before", named)
        assert answer.code == 2
        assert answer.refusal == (
            f"{path}: no such file",
            "name a report.json, or the run folder that holds one",
        )


def write(name: str, files: Sizes, *, cpu: str = "Ryzen", spread: float = 0.0) -> None:
    """Write a run folder with nothing but its report."""
    device = Device(
        name=f"desk ({cpu})",
        machine="x86_64",
        cpu=cpu,
        cores=2,
        governor=None,
        clock_mhz=None,
        temperature_c=None,
        load_average=None,
    )
    cost = Cost(parameters=1000, macs=1000, weight_bytes=4000, peak_activation_bytes=4000)
    document = Report(
        command="edgeprune compress model.pt",
        seed=0,
        versions={},
        model=name,
        model_sha256="",
        target="x86-64",
        taken_at="2026-01-01T00:00:00+00:00",
        device=device,
        data=None,
        images=None,
        criterion="l2",
        budget="",
        cost=Costs(before=cost, after=cost),
        groups=0,
        locked={},
        proof=Proof(inputs=2, relative_error=0, refused={}),
        compensation=None,
        quality=Qualities(original=None, shrunk=None),
        artifacts=tuple(
            delivered(*kind, *numbers, device=device.name, spread=spread) for kind, numbers in files.items()
        ),
        timing_s={},
    )
    Path(name).mkdir()
    document.save(Path(name) / "report.json")


def delivered(
    format: str, precision: str, p50_ms: float, top1: float, size: int, *, device: str, spread: float
) -> DeliveredArtifact:
    samples = [int(1e6 * (p50_ms + spread * step)) for step in range(-10, 11)]
    timing = Timing(samples_ns=tuple(samples), warmup=2, threads=1)
    return DeliveredArtifact.model_validate(
        {
            "format": format,
            "precision": precision,
            "path": f"model.{precision}.{format}",
            "bytes": size,
            "sha256": "",
            "parent": "",
            "quality": Quality(top1=top1, images=1000, interval=(top1 - 1, top1 + 1)),
            "agreement": 100,
            "deviation": Deviation(images=1000, max_abs=0, relative=0),
            "passed": True,
            "latency": Latency(kind="measured", device=device, p50_ms=timing.p50_ms, timing=timing),
        }
    )

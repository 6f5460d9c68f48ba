"""The report is a contract: other programs find the promised keys, and the schema describes them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from core.documents import DROP, QUALITY, a_report, an_artifact, delivered, measured
from edgeprune.core.drop import Drop
from edgeprune.core.paired import confidence_of_drop, drop_interval, mcnemar_p_value
from edgeprune.core.report import Deviation, Latency, Report

SCHEMA = Report.model_json_schema(mode="serialization")


def as_written(report: Report) -> dict[str, Any]:
    return json.loads(report.to_json())


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["title"] == "Report"
    assert SCHEMA["properties"]["kind"]["const"] == "report/1"


@pytest.mark.parametrize(
    "report",
    [
        a_report(),
        a_report(delivered(there=measured()), delivered("int8-static", quality=None)),
        a_report().model_copy(update={"data": None, "images": None, "compensation": None}),
    ],
    ids=["for another machine", "for this machine", "without data"],
)
def test_the_schema_accepts_what_is_written(report: Report) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(as_written(report))


@pytest.mark.parametrize(
    ("path", "value"),
    [(("cost", "before", "macs"), "many"), (("artifacts", 0, "latency", "kind"), "guessed"), (("extra",), 1)],
)
def test_the_schema_refuses_what_is_not_a_report(path: tuple[str | int, ...], value: object) -> None:
    written = as_written(a_report())
    place: Any = written
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(written)


def test_the_promised_keys_are_there() -> None:
    written = as_written(a_report())
    assert written["kind"] == "report/1"
    assert {"command", "seed", "versions", "cost", "quality", "timing_s", "artifacts"} <= written.keys()
    for moment in ("before", "after"):
        assert {"macs", "parameters"} <= written["cost"][moment].keys()
    for network in ("original", "shrunk"):
        assert {"top1", "images", "interval"} <= written["quality"][network].keys()
    (artifact,) = written["artifacts"]
    assert {
        *("format", "precision", "path", "bytes", "sha256", "quality", "agreement", "latency")
    } <= artifact.keys()
    assert artifact["quality"]["top1"] == 91.5
    assert {"kind", "device", "p50_ms", "p95_ms", "p99_ms"} <= artifact["latency"].keys()
    assert artifact["latency"]["kind"] == "none"
    assert artifact["latency_here"]["kind"] == "measured"


def test_samples_are_kept_and_their_statistics_written_beside_them() -> None:
    latency = as_written(a_report(delivered(here=measured(samples=(3_000_000, 1_000_000)))))
    timing = latency["artifacts"][0]["latency_here"]["timing"]
    assert timing["samples_ns"] == [3_000_000, 1_000_000]
    assert timing["p50_ms"] == latency["artifacts"][0]["latency_here"]["p50_ms"] == 2.0


def test_a_report_is_json_that_every_program_reads_even_when_answers_are_not_finite() -> None:
    lost = delivered().model_copy(update={"deviation": Deviation(images=1, max_abs=None, relative=None)})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(a_report(lost).to_json(), parse_constant=refuse)


def test_files_that_failed_are_listed_with_the_reason() -> None:
    bad = delivered("int8-static").model_copy(update={"passed": False, "why": "its answers are not finite"})
    assert a_report(delivered(), bad).failures() == ["model.int8-static.onnx: its answers are not finite"]
    assert a_report().failures() == []


def test_a_latency_is_measured_predicted_or_unknown() -> None:
    with pytest.raises(ValueError, match="Input should be 'measured', 'predicted' or 'none'"):
        Latency(kind="guessed", device="board")


def test_accuracy_is_a_percentage() -> None:
    with pytest.raises(ValueError, match="less than or equal to 100"):
        QUALITY.model_validate({**QUALITY.model_dump(), "top1": 101})


def test_everything_about_a_drop_follows_from_its_counts() -> None:
    drop = Drop(both_right=900, lost=30, gained=10, both_wrong=60)
    assert (drop.images, drop.before, drop.after, drop.points) == (1000, 93.0, 91.0, 2.0)
    assert drop.interval == tuple(round(limit, 4) for limit in drop_interval(30, 10, 1000))
    assert drop.p_value == pytest.approx(mcnemar_p_value(30, 10), rel=1e-5)
    assert drop.confidence(at_most=3.0) == confidence_of_drop(30, 10, 1000, at_most=3.0)
    assert drop.confidence(at_most=2.0) == pytest.approx(0.5)


def test_a_written_drop_is_read_back_by_its_counts() -> None:
    written = {**DROP.model_dump(), "points": 99.0, "p_value": 0.0}
    assert Drop.parse(written, source="report.json") == DROP
    assert {"lost", "gained", "points", "interval", "p_value", "before", "after"} <= written.keys()


def test_a_drop_over_no_images_is_none() -> None:
    with pytest.raises(ValueError, match="a drop needs at least one image"):
        Drop(both_right=0, lost=0, gained=0, both_wrong=0)


def test_an_artifact_is_described_by_its_bytes(tmp_path: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"abc")
    described = type(an_artifact()).of_file(path, format="onnx", precision="fp16", parent="cd34")
    assert described.model_dump() == {
        "format": "onnx",
        "precision": "fp16",
        "path": "model.onnx",
        "bytes": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "parent": "cd34",
        "inputs": (),
        "outputs": (),
        "transposes": None,
    }


def test_a_bound_that_no_integer_file_keeps_to_is_unmet_and_what_was_tried_is_kept() -> None:
    report = a_report(refused=True)
    assert report.unmet()[-1] == "no int8w-int16a onnx file keeps to the bound"
    assert a_report().unmet() == report.unmet()[:-1]
    assert report.failures() == []
    written = as_written(report)
    assert written["refused"]["model.int8w-int16a.onnx"]["holds"] is False
    jsonschema.Draft202012Validator(SCHEMA).validate(written)

"""`edgeprune compress` on the embedded example: what programs may rely on, and what people see."""

from __future__ import annotations

import json
import platform
import re
import shutil
from hashlib import sha256
from pathlib import Path

import jsonschema
import pytest
from command import Here, run

from cli.conftest import DIGITS, Finished

STAGES = (
    "load screen plan shrink compensate save baseline export quantize verify describe tflite-runtime profile"
).split()
FILES = {
    "model.onnx": ("onnx", "fp32"),
    "model.fp16.onnx": ("onnx", "fp16"),
    "model.int8-static.onnx": ("onnx", "int8-static"),
    "model.tflite": ("tflite", "fp32"),
    "model.fp16.tflite": ("tflite", "fp16"),
    "model.int8-static.tflite": ("tflite", "int8-static"),
}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the run is for this machine: x86-64")


def test_it_is_done(finished: Finished) -> None:
    assert finished.answer.code == 0, finished.answer.err


def test_json_prints_exactly_the_document_of_the_run_folder(finished: Finished) -> None:
    assert finished.answer.out == (finished.folder / "report.json").read_text()


def test_the_report_fits_the_published_schema(finished: Finished, here: Here) -> None:
    schema = json.loads(here("schema", "report").out)
    jsonschema.validate(finished.document, schema, cls=jsonschema.Draft202012Validator)


def test_the_report_has_every_promised_key(finished: Finished) -> None:
    document = finished.document
    assert document["kind"] == "report/1"
    assert re.fullmatch(
        r"edgeprune compress \S+digits\.pt --target x86-64 --json --out \S+", document["command"]
    )
    assert document["seed"] == 0
    assert {"python", "edgeprune", "torch", "onnx", "onnxruntime", "litert-torch"} <= set(
        document["versions"]
    )
    for side in ("before", "after"):
        assert {"macs", "parameters"} <= set(document["cost"][side])
    for side in ("original", "shrunk"):
        assert {"top1", "images", "interval"} <= set(document["quality"][side])
    assert list(document["timing_s"]) == STAGES
    promised = {"format", "precision", "path", "bytes", "sha256", "quality", "agreement", "latency"}
    for one in document["artifacts"]:
        assert promised <= set(one)
        assert one["quality"]["top1"] > 95
        assert {"kind", "device", "p50_ms", "p95_ms", "p99_ms"} <= set(one["latency"])


def test_the_numbers_of_the_report_are_true_to_one_another(finished: Finished) -> None:
    document = finished.document
    assert document["cost"]["before"]["macs"] >= 2 * document["cost"]["after"]["macs"]
    assert document["images"] == {"calibration": 720, "selection": 180, "test": 597}
    assert {document["quality"][side]["images"] for side in ("original", "shrunk")} == {597}
    for side in ("original", "shrunk"):
        low, high = document["quality"][side]["interval"]
        assert low <= document["quality"][side]["top1"] <= high
    assert document["quality"]["shrunk"]["top1"] > 98
    for one in document["artifacts"]:
        assert one["passed"]
        assert one["agreement"] == 100 or one["precision"] == "int8-static"
        assert one["latency"]["p50_ms"] <= one["latency"]["p95_ms"] <= one["latency"]["p99_ms"]
        assert one["latency"]["kind"] == "measured"
        assert one["latency"]["device"] == document["device"]["name"]
        assert one["latency_here"] is None


def test_every_file_of_the_report_is_there_with_its_size_and_hash(finished: Finished) -> None:
    found = {one["path"]: one for one in finished.document["artifacts"]}
    assert {path: (one["format"], one["precision"]) for path, one in found.items()} == FILES
    for path, one in found.items():
        content = (finished.folder / path).read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (one["bytes"], one["sha256"])


def test_the_run_folder_holds_nothing_else(finished: Finished) -> None:
    seen = {path.name for path in finished.folder.iterdir()}
    assert seen == {*FILES, "model.pt2", "plan.json", "screening.json", "report.json", ".edgeprune"}


def test_one_line_per_stage_where_nobody_watches(finished: Finished) -> None:
    lines = finished.answer.err.splitlines()
    assert all(re.fullmatch(r"[a-z ]{32} +[\d.]+ s", line) for line in lines), finished.answer.err
    assert [line[:32].rstrip() for line in lines] == [
        "load",
        "screen",
        "sensitivity",
        "shrink and prove",
        "compensate",
        "export the original",
        "export",
        "quantize",
        "guard",
        "accuracy of the original",
        "accuracy of the shrunk network",
        "verify",
        "tflite runtime",
        "profile",
    ]


def test_quiet_prints_nothing_while_files_are_made(finished: Finished, tmp_path: Path) -> None:
    run_again = a_copy(finished, tmp_path)
    (run_again / "model.int8-static.tflite").unlink()
    answer = run("compress", DIGITS, "--target", "x86-64", "--out", run_again, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (run_again / "model.int8-static.tflite").exists()


def test_people_see_costs_the_proof_accuracies_and_a_row_per_file(
    finished: Finished, here: Here, tmp_path: Path
) -> None:
    answer = here("compress", DIGITS, "--target", "x86-64", "--out", a_copy(finished, tmp_path))
    cost, quality = finished.document["cost"], finished.document["quality"]
    lines = answer.text.splitlines()
    assert (answer.code, answer.err) == (0, "")
    assert lines[1].startswith("digits for x86-64: 3.83 M -> ")
    assert f"({cost['before']['macs'] / cost['after']['macs']:.2f}x fewer)" in lines[1]
    assert re.match(r"proof: equals the original with the cut channels silenced to \d+e[-+]\d\d ", lines[2])
    assert f"original {quality['original']['top1']:.2f} % [" in lines[3]
    drop, worst = quality["drop"], quality["worst"]
    assert lines[4].startswith(f"drop: {drop['points']:.2f} points [")
    lost = "1 image" if drop["lost"] == 1 else f"{drop['lost']} images"
    assert f"; {lost} lost, {drop['gained']} gained (McNemar p = " in lines[4]
    named = [line for line in lines[5:6] if worst and line.startswith(f"worst class: {worst}, ")]
    assert len(named) == bool(worst)
    del lines[4 : 5 + len(named)]
    assert lines[4] == "images: 720 calibration, 180 selection, 597 test; no image in two of them"
    assert lines[5].split()[0] == "file"
    table = [line.strip().split("  ")[0] for line in lines[6:14]]
    assert sorted(table) == sorted([*FILES, "original, onnx", "original, tflite"])
    assert all(line.endswith(" yes") for line in lines[6:14] if "original" not in line)
    assert lines[14].startswith("latency: measured on ")
    assert lines[-1].startswith(f"{tmp_path}/run/report.json  (")


def test_a_finished_run_is_not_repeated(finished: Finished, here: Here, tmp_path: Path) -> None:
    again = a_copy(finished, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in again.glob("model*")}
    answer = here("compress", DIGITS, "--target", "x86-64", "--out", again, "--json")
    document = json.loads(answer.out)
    assert answer.err == ""
    assert {path: path.stat().st_mtime_ns for path in again.glob("model*")} == written
    assert document["artifacts"] == finished.document["artifacts"]
    assert document["timing_s"] == finished.document["timing_s"]


def test_a_file_that_fails_verification_gives_exit_code_1(
    finished: Finished, here: Here, tmp_path: Path
) -> None:
    again = a_copy(finished, tmp_path)
    spoil_verdict(again, "model.fp16.onnx", "its answers are not finite")
    answer = here("compress", DIGITS, "--target", "x86-64", "--out", again, "--quiet")
    assert answer.code == 1
    assert answer.refusal == (
        "1 of 6 files failed verification: model.fp16.onnx: its answers are not finite",
        "do not ship them; report.json has the details",
    )


def a_copy(finished: Finished, folder: Path) -> Path:
    """The finished run, to be continued elsewhere."""
    return Path(shutil.copytree(finished.folder, folder / "run"))


def spoil_verdict(folder: Path, path: str, why: str) -> None:
    """Let the journal say that one file failed, as if verify had found so."""
    hidden = folder / ".edgeprune"
    judgement = json.loads((hidden / "judgement.json").read_text())
    for verdict in judgement["verdicts"]:
        if verdict["path"] == path:
            verdict.update(passed=False, why=why)
    (hidden / "judgement.json").write_text(json.dumps(judgement))
    journal = json.loads((hidden / "journal.json").read_text())
    digest = sha256((hidden / "judgement.json").read_bytes()).hexdigest()
    journal["stages"]["verify"]["files"] = {".edgeprune/judgement.json": digest}
    (hidden / "journal.json").write_text(json.dumps(journal))

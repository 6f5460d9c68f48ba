"""`edgeprune inspect FILE`: what a finished file holds."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from command import Here
from tiny import tiny_floats, tiny_folder

from edgeprune.core.contents import Contents
from edgeprune.core.registry import build


def noted(folder: Path, format: str) -> Path:
    source = tiny_folder() / next(one.path for one in tiny_floats() if one.format == format)
    path = folder / source.name
    build("formats", format).note(source, path, {"precision": "fp32", "labels": '["[b]", "dog"]'})
    return path


def test_a_file_is_shown_line_by_line(here: Here, tmp_path: Path) -> None:
    path = noted(tmp_path, "onnx")
    found = build("formats", "onnx").look(path)
    counts = ", ".join(f"{count} {name}" for name, count in found.operators.items())
    assert here("inspect", path).out == (
        f"{path}: onnx, fp32, {found.bytes / 1000:.1f} kB, opset 18\n"
        "input input: float32 ?x3x16x16\n"
        "output output: float32 ?x10\n"
        f"{sum(found.operators.values())} operators: {counts}\n"
        "no operator reorders axes\n"
        f"weights: float32 {found.weights['float32'] / 1000:.1f} kB, int64 {found.weights['int64']} B\n"
        'labels: ["[b]", "dog"]\n'
        "precision: fp32\n"
        f"sha256: {found.sha256}\n"
    )


def test_json_is_the_document(here: Here, tmp_path: Path) -> None:
    path = noted(tmp_path, "tflite")
    document = json.loads(here("inspect", path, "--json").out)
    assert Contents.parse(document, source="test") == build("formats", "tflite").look(path)
    jsonschema.validate(document, json.loads(here("schema", "contents").out))


def test_a_file_that_is_not_there_is_an_error(here: Here, tmp_path: Path) -> None:
    answer = here("inspect", tmp_path / "none.onnx")
    assert answer.refusal == (f"{tmp_path}/none.onnx: no such file", "check the path of the file")


def test_a_damaged_file_is_an_error(here: Here, tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"TFL")
    message, hint = here("inspect", tmp_path / "a.tflite").refusal
    assert message == f"{tmp_path}/a.tflite: not a valid TFLite file (no TFL3 mark at its beginning)"
    assert hint == "it is damaged or of another format; make it again"

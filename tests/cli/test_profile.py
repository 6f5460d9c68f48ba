"""`edgeprune profile`: loose files, timed in turns on this machine."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from command import ENVIRONMENT, EXECUTABLE, Here

from cli.conftest import Finished


@pytest.fixture
def files(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an ONNX and a TFLite file."""
    for name in ("model.onnx", "model.int8-static.tflite"):
        shutil.copy(finished.folder / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_row_per_file_and_the_machine_it_was_measured_on(here: Here, files: Path) -> None:
    answer = here("profile", "model.onnx", "model.int8-static.tflite")
    assert answer.code == 0
    head, *latencies, second_head, first, second, where = answer.text.splitlines()
    assert head.split() == "file p50 ms 95 % interval p90 ms p95 ms p99 ms".split()
    assert second_head.split() == "file size memory load ms first ms runtime".split()
    number = r"(\d+\.\d+)"
    for line in latencies:
        row = rf"(model\S+) +{number} +\[{number}, {number}\] +{number} +{number} +{number}"
        found = re.fullmatch(row, line.strip())
        assert found, line
        median, low, high, *slow = map(float, found.groups()[1:])
        assert low <= median <= high
        assert [median, *slow] == sorted([median, *slow])
    for line, runtime in ((first, "onnxruntime"), (second, "litert")):
        row = rf"model\S+ +[\d.]+ kB +[\d.]+ MB +{number} +{number} +{runtime} [\d.]+"
        assert re.fullmatch(row, line.strip()), line
    assert where.startswith("measured on ")
    assert answer.err.startswith("profile  ")


def test_json_fits_the_published_schema(here: Here, files: Path) -> None:
    document = json.loads(here("profile", "model.onnx", "--quiet", "--json", "--threads", "2").out)
    schema = json.loads(here("schema", "profile").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    latency = document["files"][0]["latency"]
    assert latency["timing"]["threads"] == 2
    assert len(latency["timing"]["samples_ns"]) == 300


def test_a_target_that_is_not_this_machine_is_named(here: Here, files: Path) -> None:
    answer = here("profile", "model.onnx", "--target", "rpi4", "--quiet", "--threads", "1")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    shown = here("profile", "model.onnx", "--target", "rpi4", "--threads", "1")
    assert shown.text.endswith("; this is not a rpi4\n")


def test_on_a_terminal_a_bar_shows_the_time_left(files: Path) -> None:
    screen = on_a_terminal("profile", "model.onnx")
    assert re.search(r"✓ profile +━+ \d:\d\d:\d\d left \d:\d\d:\d\d", screen)
    assert "model.onnx" in screen.rpartition("left")[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.onnx", ("nowhere.onnx: no such file", "check the path of the file")),
        (
            "model.bin",
            ("model.bin: target 'x86-64' has no runtime for it", "it runs .onnx, .tflite files"),
        ),
    ],
)
def test_what_cannot_be_profiled_says_why(
    here: Here, files: Path, name: str, message: tuple[str, str]
) -> None:
    (files / "model.bin").touch()
    answer = here("profile", "model.onnx", name)
    assert (answer.code, answer.refusal) == (2, message)


def test_a_file_its_runtime_refuses_gives_exit_code_3(here: Here, files: Path) -> None:
    (files / "cut.onnx").write_bytes((files / "model.onnx").read_bytes()[:1000])
    answer = here("profile", "cut.onnx")
    assert answer.code == 3
    assert answer.err.startswith("error: cut.onnx: onnxruntime refuses it: ")


def on_a_terminal(*arguments: str) -> str:
    """What a terminal of 100 columns shows, without colours."""
    watching, standard = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [EXECUTABLE, *arguments], stdin=standard, stdout=standard, stderr=standard, env=environment
    )
    os.close(standard)
    printed = b""
    while True:
        try:
            part = os.read(watching, 65536)
        except OSError:  # Linux reports the end of a terminal as an input/output error
            break
        if not part:
            break
        printed += part
    os.close(watching)
    assert process.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", printed.decode())

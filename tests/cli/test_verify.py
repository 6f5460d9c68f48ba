"""`edgeprune verify`: files on emulated boards, and the gates on answers and instructions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from command import Here
from core.documents import EMULATION
from packages import capsule
from tiny import tiny_floats, tiny_folder, tiny_quantized

from edgeprune.cli import boards
from edgeprune.core.emulation import Emulation, Growth
from edgeprune.core.errors import DeviceError
from edgeprune.core.qemu import _look, find_qemu

INT8 = ("model.int8-static.onnx", "model.int8-static.tflite")
SHOWN = """\
 file        board  answers    top-1 same  instructions  float  dot  int  memory  branches  change    verified
 model.onnx  rpi4   0.5 steps  75 %        100           40     1    2    30      10        +25.00 %  no
model.onnx on rpi4: it differs
4 of seeded noise, beside a cpu; onnxruntime 1.32.0; qemu 7.2
instructions were not counted: no compiler
"""


def float32() -> Path:
    return tiny_folder() / tiny_floats()[0].path


# What needs no emulator


def test_a_result_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    boards.emulation(EMULATION, [Growth("model.onnx", "rpi4", 80, 100)])
    shown = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    assert shown == SHOWN


def test_a_bound_needs_something_to_be_compared_with(here: Here) -> None:
    answer = here("verify", float32(), "--on", "rpi4", "--max-instructions", "+0%")
    assert (answer.code, answer.refusal) == (
        2,
        ("--max-instructions needs --baseline", "name the file of an earlier --save"),
    )


def test_a_bound_is_a_percentage(here: Here) -> None:
    options = ("--baseline", "b.json", "--max-instructions", "few")
    answer = here("verify", float32(), "--on", "rpi4", *options)
    assert answer.refusal == ("--max-instructions 'few' is no percentage", "write +0% or +5%")


def test_a_folder_without_files_is_refused(here: Here, tmp_path: Path) -> None:
    answer = here("verify", tmp_path, "--on", "rpi4")
    assert (answer.code, answer.refusal) == (
        2,
        (f"{tmp_path}: no ONNX or TFLite file in it", "name the folder of a finished run, or files"),
    )


def test_without_an_emulator_the_way_to_get_one_is_said(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _look.cache_clear()
    answer = here("verify", float32(), "--on", "rpi4")
    _look.cache_clear()
    assert (answer.code, answer.refusal) == (
        3,
        (
            "boards cannot be emulated: qemu-aarch64 is not on this machine",
            "on Debian or Ubuntu: apt-get install qemu-user qemu-user-static",
        ),
    )


# On emulated boards


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run of int8 files, on a machine that can emulate."""
    try:
        find_qemu()
    except DeviceError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    for runtime in ("onnxruntime", "litert"):
        capsule(runtime, "aarch64")
    (tmp_path / "run").mkdir()
    for name in INT8:
        assert name in {one.path for one in tiny_quantized()}
        shutil.copy(tiny_folder() / name, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.emulated
def test_int8_files_answer_equal_to_the_bit_and_keep_to_their_baseline(here: Here, run: Path) -> None:
    answer = here("verify", "run", "--on", "rpi5", "--images", "2", "--save", "first.json", "--json")
    assert (answer.code, answer.err.count("error")) == (0, 0)
    document = Emulation.load(run / "first.json")
    jsonschema.validate(json.loads(answer.out), json.loads(here("schema", "emulation").out))
    assert [Path(file.path).name for file in document.files] == list(INT8)
    assert all(file.likeness.equal for file in document.files)
    if document.uncounted:
        pytest.skip(f"instructions were not counted: {document.uncounted}")
    # Both runtimes find the core's dot products, and multiply hardly anything without them.
    for file in document.files:
        assert file.instructions is not None
        assert file.instructions.dot_product > 10 * file.instructions.integer_multiply_add

    same = ("--baseline", "first.json", "--max-instructions", "+0%")
    assert here("verify", "run/" + INT8[1], "--on", "rpi5", "--images", "2", *same, "--quiet").code == 0

    cheaper = re.sub(r'"total": (\d+)', lambda found: f'"total": {int(found[1]) * 9 // 10}', answer.out)
    (run / "first.json").write_text(cheaper)
    grew = here("verify", "run/" + INT8[1], "--on", "rpi5", "--images", "2", *same, "--quiet")
    assert grew.code == 1
    assert re.fullmatch(
        r"more instructions than the baseline \+0 %: run/model\.int8-static\.tflite on rpi5 \+11\.\d\d %",
        grew.refusal[0],
    )

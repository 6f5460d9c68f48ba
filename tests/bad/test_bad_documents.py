"""The museum of bad TOML files: all faults at once, each with its key path and the nearest key."""

from __future__ import annotations

from pathlib import Path

from bad.conftest import Compress

HINT = "correct the file; `edgeprune schema` prints what each kind of document may hold"
TARGET = """\
kind = "target/1"
name = "board"
sumary = "a board"
precisions = ["fp32", "int9"]
threads = 0
host = { machin = "aarch64" }
runtimes = { onnx = "onnxruntime" }
channels = { multiple = 8, source = "its datasheet" }

[physics.clock]
value = 1.8
"""
TARGET_FAULTS = """\
board.toml: 7 faults
  summary: missing
  host.machine: missing
  host.machin: unknown key (did you mean 'machine'?)
  precisions.1: input should be 'fp32', 'fp16', 'int8-static', 'int8-dynamic', \
'int8-weight-only', 'int8w-int16a' or 'int4-weight-only'
  threads: input should be greater than 0
  physics.clock.source: missing
  sumary: unknown key (did you mean 'summary'?)"""
RECIPE = """\
kind = "recipe/1"
archi = "model.py:net"
input = 3
labels = ["cat", 2]

[preprocess]
crop = -1
means = [0.5]
"""
RECIPE_FAULTS = """\
edgeprune.toml: 5 faults
  input: input should be a valid string
  labels.1: input should be a valid string
  preprocess.crop: input should be greater than 0
  preprocess.means: unknown key (did you mean 'mean'?)
  archi: unknown key (did you mean 'arch'?)"""


def test_a_target_with_seven_faults(compress: Compress, desk: Path) -> None:
    (desk / "board.toml").write_text(TARGET)
    answer = compress(target="board.toml")
    assert (answer.code, answer.refusal) == (2, (TARGET_FAULTS, HINT))


def test_a_recipe_with_five_faults(compress: Compress, desk: Path) -> None:
    (desk / "edgeprune.toml").write_text(RECIPE)
    answer = compress()
    assert (answer.code, answer.refusal) == (2, (RECIPE_FAULTS, HINT))
    assert not (desk / "runs").exists()


def test_one_fault_stands_on_one_line(compress: Compress, desk: Path) -> None:
    (desk / "edgeprune.toml").write_text('kind = "recipe/2"\n')
    assert compress().refusal == ("edgeprune.toml: kind: input should be 'recipe/1'", HINT)


def test_a_file_that_is_no_toml(compress: Compress, desk: Path) -> None:
    (desk / "board.toml").write_text('name = "board"\nthreads = \n')
    assert compress(target="board.toml").refusal == (
        "board.toml: not valid TOML: Invalid value (at line 2, column 11)",
        HINT,
    )


def test_a_target_file_that_is_missing(compress: Compress) -> None:
    assert compress(target="boards/mine.toml").refusal == ("boards/mine.toml: no such file", HINT)

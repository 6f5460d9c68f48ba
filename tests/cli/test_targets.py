"""`edgeprune targets`: names, facts, and where the facts come from."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from command import Here

BOARD = f"""\
kind = "target/1"
name = "board"
summary = "A board on my desk"
precisions = ["fp32", "int8-static"]
threads = 2
host = {{ machine = "{platform.machine()}" }}
runtimes = {{ onnx = "onnxruntime" }}
channels = {{ multiple = 4, source = "measured on the desk" }}

[physics]
cores = {{ value = 2, source = "its datasheet, page 1" }}
clock = {{ value = 1.8, unit = "GHz", source = "its datasheet, page 2" }}
dot_product = {{ value = false, source = "/proc/cpuinfo" }}
"""
SHOWN = """\
board: A board on my desk
formats: onnx (onnxruntime)
precisions: fp32, int8-static; threads: 2
channels: multiples of 4 (measured on the desk)
 fact         value    source
 cores        2        its datasheet, page 1
 clock        1.8 GHz  its datasheet, page 2
 dot_product  no       /proc/cpuinfo
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "board.toml").write_text(BOARD)
    monkeypatch.setenv("EDGEPRUNE_TARGETS", str(tmp_path))
    return tmp_path / "board.toml"


def test_the_built_in_targets_are_listed_with_this_machine_marked(here: Here) -> None:
    answer = here("targets", "list")
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("android-arm64", "rpi-zero-2w", "rpi3", "rpi4", "rpi5", "x86-64")
    ]
    marked = [line.split()[0] for line in lines if line.endswith("  (this machine)")]
    assert marked == (["x86-64"] if platform.machine() == "x86_64" else [])


def test_targets_of_the_users_folder_are_listed_too(here: Here, board: Path) -> None:
    assert "board          A board on my desk  (this machine)\n" in here("targets", "list").out


def test_a_target_is_shown_with_its_facts_and_sources(here: Here, board: Path) -> None:
    for name in ("board", str(board)):
        answer = here("targets", "show", name)
        assert (answer.code, answer.text, answer.err) == (0, SHOWN, "")


def test_both_print_documents(here: Here, board: Path) -> None:
    shown = json.loads(here("targets", "show", "board", "--json").out)
    assert shown["kind"] == "target/1"
    assert shown["physics"]["clock"] == {"value": 1.8, "unit": "GHz", "source": "its datasheet, page 2"}
    assert shown in json.loads(here("targets", "list", "--json").out)


def test_every_built_in_target_can_be_shown(here: Here) -> None:
    for line in here("targets", "list").out.splitlines():
        name = line.split()[0]
        assert here("targets", "show", name).out.startswith(f"{name}: ")

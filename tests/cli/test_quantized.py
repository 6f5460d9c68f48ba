"""`edgeprune compress` when integer files cannot keep to their bound: exit code 1, and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command import Answer, Here
from test_budgets import trained
from test_pipeline import DATA, NETWORK, one_thread

from edgeprune.graph.capture import capture

__all__ = ["one_thread"]  # a fixture, for this module, too
# A training that forgets one of ten classes.
FORGET = """\
import sys

import torch

weights = torch.load(sys.argv[1])
weights["head.bias"][9] = -1e6
torch.save(weights, sys.argv[2])
"""


@pytest.fixture
def forgotten(tmp_path: Path, here: Here) -> tuple[Path, Answer]:
    (tmp_path / "data.py").write_text(DATA)
    (tmp_path / "forget.py").write_text(FORGET)
    capture(trained(), NETWORK.inputs).save(tmp_path / "net.pt2")
    bound = ("--max-drop", "20", "--confidence", "0.99", "--criterion", "refit")
    files = ("--format", "onnx", "--precision", "int8-static")
    answer = here(
        *("compress", tmp_path / "net.pt2", "--target", "x86-64", "--data", f"{tmp_path}/data.py:patterns"),
        *("--train-command", f"{sys.executable} {tmp_path}/forget.py {{state}} {{out}}"),
        *(*bound, *files, "--out", tmp_path / "run"),
    )
    return tmp_path / "run", answer


def test_a_bound_that_no_integer_file_keeps_to_gives_exit_code_1_and_leaves_the_float_file(
    forgotten: tuple[Path, Answer],
) -> None:
    folder, answer = forgotten
    assert (folder / "report.json").exists(), answer.err
    document = json.loads((folder / "report.json").read_text())
    (how,) = document["refused"].values()
    drop = how["after"]["drop"]
    low, high = drop["interval"]
    lost = f"drop within 20 points at 99 %, but {drop['points']:.2f} [{low:.2f}, {high:.2f}] are lost"
    line = f"no int8-static onnx file keeps to the bound: {lost}"
    assert document["claim"]["verdict"] == "undecided"
    assert document["broken"] == [line]
    assert (answer.code, answer.err.splitlines()[-2:]) == (
        1,
        [f"error: {line}", "hint: the run folder keeps the files; report.json has the details"],
    )
    assert (
        f"model.int8-static.onnx could not be made: even with every operator in float32 it breaks the bound: "
        f"{lost}"
    ) in document["warnings"]
    assert [one["path"] for one in document["artifacts"]] == ["model.onnx"]
    assert document["artifacts"][0]["passed"]
    assert not list(folder.glob("*int8*"))

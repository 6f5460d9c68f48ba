"""Finished files carry what a stranger needs to use them, and nothing of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny import tiny_floats, tiny_folder, tiny_quantized

from edgeprune.core.interface import Interface
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.report import Deviation, Quality, Verdict
from edgeprune.core.request import Budget, Request
from edgeprune.stages.describe import describe, notes_of

REQUEST = Request(
    model="net",
    model_sha256="ab",
    target="t",
    version="9.9",
    budget=Budget(speedup=2),
    labels=("cat", "dog"),
    preprocess=Preprocess(mean=(0.5,), std=(0.25,)),
)


def test_notes_say_how_an_input_is_made(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    assert notes_of(REQUEST, tmp_path / "plan.json") == {
        "edgeprune": "9.9",
        "model": "net",
        "labels": '["cat", "dog"]',
        "plan_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "input": "float32, NCHW: (x / scale (255 for 8-bit images) - mean) / std",
        "answer": "scores",
        "mean": "[0.5]",
        "std": "[0.25]",
    }


def test_a_file_that_normalises_itself_asks_for_frames(tmp_path: Path) -> None:
    camera = REQUEST.model_copy(update={"interface": Interface(camera=True, layout="nhwc")})
    notes = notes_of(camera, tmp_path / "none.json")
    assert notes["input"] == "8-bit frames, 0 to 255, NHWC; normalised inside"
    assert not {"mean", "std", "scale", "plan_sha256"} & notes.keys()


def test_described_files_keep_their_line_of_descent(tmp_path: Path) -> None:
    files = (*tiny_floats(), *tiny_quantized())
    for one in files:
        shutil.copy(tiny_folder() / one.path, tmp_path)
    verdict = Verdict(
        path="model.onnx",
        quality=Quality(top1=90, images=10, interval=(60, 98)),
        agreement=100,
        deviation=Deviation(images=10, max_abs=0, relative=0),
        passed=True,
    )
    described = {one.path: one for one in describe(files, tmp_path, {"model": "net"}, [verdict])}
    assert {one.path for one in files} == set(described)
    assert described["model.fp16.onnx"].parent == described["model.onnx"].sha256
    assert described["model.onnx"].parent == "cd34"
    held = build("formats", "onnx").look(tmp_path / "model.onnx")
    assert held.sha256 == described["model.onnx"].sha256
    assert held.notes == {
        "model": "net",
        "precision": "fp32",
        "top1_percent": "90.00 [60.00, 98.00] of 10 test images",
    }
    assert described["model.onnx"].transposes == 0
    assert (described["model.tflite"].transposes or 0) > 0

"""What evening out channels gives integer files, where one range holds all and where outliers take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.export.trained import FORMATS, ROOT, drawn, resnet, resnet_options
from benchmarks.page import say
from edgeprune.core.decibels import decibels
from edgeprune.core.protocols import CalibratedQuantizer
from edgeprune.core.registry import build
from edgeprune.core.samples import Split, Splits
from edgeprune.core.target import find_target
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.equalised import equalised
from edgeprune.graph.rounding import rounded
from edgeprune.graph.weights import copied
from edgeprune.stages.export import export
from edgeprune.stages.load import load

_LARGE = 30.0
_ONE_IN = 16
_IMAGES = 2_000
_REPAIRS: dict[str, Callable[[Program, Split], Program]] = {
    "as it is": lambda program, images: program,
    "rounded": lambda program, images: rounded(program, images, 8),
    "evened out": equalised,
    "evened out, rounded": lambda program, images: rounded(equalised(program, images), images, 8),
}


def evened_section(folder: Path) -> list[str]:
    """Static int8 of three networks before and after both repairs."""
    rows = []
    for name, program, splits in _networks():
        test = splits.test.take(_IMAGES)
        expected = np.concatenate([program.run(torch.from_numpy(one)).numpy() for one in test.inputs(100)])
        for repair, change in _REPAIRS.items():
            say(f"{name}, {repair}")
            files, failed = export(change(program, splits.calibration), FORMATS, folder, parent="")
            assert not failed, failed
            found = [_judged(folder / one.path, splits.calibration, test, expected) for one in files]
            rows.append(f"| {name} | {_right(expected, test):.2f} | {repair} | {' | '.join(found)} |")
    return [
        "## Channels of about one size",
        "",
        f"Static int8 with min-max ranges of 200 calibration images; {_IMAGES:,} test images, signal against",
        "the float32 network. With outliers: one channel in sixteen between the layers of the three",
        "blocks with ReLU is thirty times as large, and the layer that reads it makes up for it.",
        "",
        "| network | float32 top-1 | weights | onnx: signal, top-1 | tflite: signal, top-1 |",
        "|---|---|---|---|---|",
        *rows,
    ]


def _networks() -> Iterator[tuple[str, Program, Splits]]:
    model = resnet("resnet20")
    architecture = f"{ROOT}/models/resnet_cifar/model.py:resnet20"
    program = load(model, arch=architecture, input_size=(3, 32, 32), base=ROOT)
    yield "resnet20", program, drawn(model, resnet_options("resnet20"))
    model = ROOT / "models" / "fashion_mobile" / "fashion_mobile.pt"
    program = load(model, arch=f"{model.parent}/model.py:fashion_mobile", input_size=(1, 28, 28), base=ROOT)
    splits = drawn(model, [])
    yield "fashion_mobile", program, splits
    yield "fashion_mobile with outliers", _with_outliers(program), splits


def _with_outliers(program: Program) -> Program:
    """The same answers with large channels in front of and behind the filters of three blocks."""
    tensors, random = copied(program), torch.Generator().manual_seed(0)
    for block in (f"blocks.{number}" for number in range(3)):
        for made, read in ((f"{block}.expand", f"{block}.filter"), (f"{block}.filter", f"{block}.project")):
            weight = tensors[f"{read}.0.weight"]
            axis = 0 if weight.shape[1] == 1 else 1
            large = torch.rand(weight.shape[axis], generator=random) < 1 / _ONE_IN
            scale = torch.where(large, _LARGE, 1.0)
            tensors[f"{made}.1.weight"] *= scale
            tensors[f"{made}.1.bias"] *= scale
            tensors[f"{read}.0.weight"] = weight / scale.reshape(
                (-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1)
            )
    return Program(rebuild(program, tensors), program.inputs)


def _judged(path: Path, calibration: Split, test: Split, expected: NDArray[np.float32]) -> str:
    format = path.suffix[1:]
    quantizer: CalibratedQuantizer = build("quantizers", f"{format}-int8-static")
    small = path.with_name(f"small.{format}")
    quantizer.quantize(path, small, calibration.inputs(100))
    session = build("runtimes", find_target("x86-64").runtimes[format], {"threads": 1}).open(small)
    answers = np.concatenate([session.infer(one) for one in test.inputs(50)])
    noise = float(np.square(answers.astype(np.float64) - expected).sum())
    signal = decibels(float(np.square(expected.astype(np.float64)).sum()), noise)
    return f"{signal} dB, {_right(answers, test):.2f}"


def _right(answers: NDArray[np.float32], test: Split) -> float:
    assert test.labels is not None
    return 100 * float((answers.argmax(1) == test.labels).mean())

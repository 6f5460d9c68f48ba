"""Measure: one network on every emulated board, as it was and cut to half its multiply-adds."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.kept import ROOT, Result
from benchmarks.memory import noise
from benchmarks.page import machine, say
from benchmarks.readers import lived_in, vision
from edgeprune.core.artifact import Tensor
from edgeprune.core.decibels import decibels
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.pipeline.emulate import emulate
from edgeprune.stages.emulate.inputs import inputs_of
from edgeprune.stages.export import export
from edgeprune.stages.load import load
from edgeprune.stages.plan import plan
from edgeprune.stages.quantize import quantize
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink

DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
BOARDS = ("rpi3", "rpi4", "rpi5")
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
IMAGES = 2


@dataclass(frozen=True, slots=True)
class Network:
    """What the table calls it, and how it is made."""

    title: str
    make: Callable[[], Program]


def measure(network: Network) -> Result:
    """MACs of both networks, and both documents of `edgeprune verify --on`."""
    program = network.make()
    coupling = couple(program)
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    cut, done, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=2.0), multiple=8))
    found: Result = {"machine": machine(), "macs": [count(coupling).macs, done.after.macs]}
    with tempfile.TemporaryDirectory() as scratch:
        for name, one in (("before", program), ("after", cut)):
            _write_files(one, Path(scratch, name))
            say(f"{network.title}: on boards")
            there = emulate([Path(scratch, name)], BOARDS, images=IMAGES)
            found[name] = there.model_dump(mode="json")
        found |= {"signal_db": _signal(program, Path(scratch, "before"))}
        found |= {"rounding": _rounding(program, Path(scratch, "before"))}
    return found


def _write_files(program: Program, folder: Path) -> None:
    """Float32 and static int8 in both formats, ranges from noise."""
    folder.mkdir()
    floats, failed = export(program, ("onnx", "tflite"), folder, parent="")
    _, also_failed = quantize(floats, ["int8-static"], noise(32, program.input_size, 0), folder)
    assert not failed | also_failed, failed | also_failed


def _signal(program: Program, folder: Path) -> dict[str, float | None]:
    """By format: what of the float32 answers changes with the input, over what int8 answers differ by."""
    inputs = next(iter(noise(32, program.input_size, 7).inputs(32)))
    found = {}
    for format in RUNTIMES:
        floats, integers = (
            _answers(folder / f"{name}.{format}", inputs) for name in ("model", "model.int8-static")
        )
        varying = floats - floats.mean(axis=0)
        found[format] = decibels(float((varying**2).mean()), float(((integers - floats) ** 2).mean()))
    return found


def _rounding(program: Program, folder: Path) -> dict[str, float]:
    """By format: how far this machine's float32 answers to the boards' inputs lie from those in float64."""
    described = Tensor(name="input", shape=(1, *program.input_size), dtype="float32")
    inputs = np.concatenate(inputs_of(described, None, IMAGES))
    with torch.no_grad():
        exact = copy.deepcopy(program.module).double()(torch.from_numpy(inputs).double()).numpy()
    largest = np.abs(exact).max()
    return {
        format: float(np.abs(_answers(folder / f"model.{format}", inputs) - exact).max() / largest)
        for format in RUNTIMES
    }


def _answers(file: Path, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    session = build("runtimes", RUNTIMES[file.suffix[1:]]).open(file)
    return np.concatenate([session.infer(inputs[place : place + 1]) for place in range(len(inputs))])


def _resnet56() -> Program:
    weights = DATA / "resnet_cifar10" / "resnet56-4bfd9763.th"
    if not weights.is_file():
        sys.exit(f"error: {weights} is absent\nhint: set EDGEPRUNE_DATA to the folder with resnet_cifar10")
    return load(weights, arch=f"{ROOT}/models/resnet_cifar/model.py:resnet56", input_size=(3, 32, 32))


def _untrained(name: str, size: tuple[int, ...]) -> Callable[[], Program]:
    def make() -> Program:
        torch.manual_seed(0)
        net: nn.Module = vision(name)()
        # The images' own statistics: after a few moving averages answers would hardly depend on the input.
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        return capture(lived_in(net, size), size)

    return make


NETWORKS = {
    "resnet56": Network("ResNet-56, 32x32", _resnet56),
    "mobilenet_v2": Network("MobileNetV2 1.0, 96x96", _untrained("mobilenet_v2", (3, 96, 96))),
    "mobilenet_v3_small": Network(
        "MobileNetV3-small 1.0, 96x96", _untrained("mobilenet_v3_small", (3, 96, 96))
    ),
}

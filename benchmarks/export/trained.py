"""Trained networks, the runs that cut them, and the images those runs drew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.page import say
from edgeprune.core.report import Report
from edgeprune.core.samples import Splits
from edgeprune.core.target import find_target
from edgeprune.stages.ask import ask
from edgeprune.stages.draw import draw
from edgeprune.stages.load import load

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
TARGET = "x86-64"
FORMATS = ("onnx", "tflite")
_WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}


def resnet(name: str) -> Path:
    """The weights of a CIFAR-10 ResNet."""
    return DATA / "resnet_cifar10" / _WEIGHTS[name]


def resnet_options(name: str) -> list[str]:
    """What the command line needs to know of a ResNet's weights."""
    return ["--arch", f"{ROOT}/models/resnet_cifar/model.py:{name}", "--data", f"npz:{DATA}/cifar10.npz"]


def compressed(model: Path, *options: str, out: Path) -> Report:
    """The report of one run of the command line; a broken promise is part of it."""
    command = [sys.executable, "-m", "edgeprune", "compress", str(model), "--target", TARGET]
    say(f"edgeprune compress {model.stem}")
    done = subprocess.run(
        [*command, *options, "--out", str(out), "--json", "--quiet"], stdout=subprocess.PIPE, cwd=ROOT
    )
    return Report.parse(json.loads(done.stdout), source="--json")


def drawn(model: Path, options: Sequence[str]) -> Splits:
    """The images that run drew."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    request = ask(model, find_target(TARGET), arch=given.get("--arch"), data=given.get("--data"))
    program = load(model, arch=request.arch, input_size=request.input, base=Path(request.arch_base))
    splits = draw(request, program)
    assert splits is not None
    return splits

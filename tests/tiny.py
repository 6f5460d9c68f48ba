"""One small network with data it can learn, its files written once for all tests that need files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from torch import nn
from zoo import IMAGE, SITUATIONS

from edgeprune.core.artifact import Artifact
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.recipe import Preprocess
from edgeprune.core.samples import Samples, Split
from edgeprune.core.target import Channels, Host, Target
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.narrowing import dropped, narrowings
from edgeprune.graph.surgery import shrink
from edgeprune.stages.export import export
from edgeprune.stages.quantize import quantize

CLASSES = 4
ELSEWHERE = Target(
    name="elsewhere",
    summary="A machine that no test runs on",
    host=Host(machine="abacus"),
    runtimes={"onnx": "onnxruntime", "tflite": "litert"},
    precisions=("fp32", "fp16", "int8-static"),
    threads=1,
    channels=Channels(multiple=4, source="chosen for tests"),
)


def tiny(situation: str = "residual_add") -> Program:
    """A fresh program: convolutions, batch norms, a residual sum, a linear layer."""
    chosen = SITUATIONS[situation]
    return capture(chosen.build(), chosen.inputs)


@cache
def tiny_coupling() -> Coupling:
    """Its groups: `stem.0` (16 units, the residual stream) and `body.0` (12 units) are free."""
    return couple(tiny())


@cache
def coupled(situation: str) -> Coupling:
    """The groups of any situation of the zoo."""
    return SITUATIONS[situation].coupling()


def halved(situation: str = "residual_add") -> tuple[nn.Module, Program, Plan]:
    """A fresh module, its program after a plan that keeps every second unit, and the plan."""
    coupling = coupled(situation)
    cuts = tuple(
        Cut(group=group.id, units=group.units, kept=tuple(range(1, group.units, 2)))
        for group in coupling.free()
    )
    plan = Plan(
        graph=coupling.program.fingerprint(),
        input=coupling.program.input_size,
        criterion="hand",
        budget="half of everything",
        seed=0,
        before=count(coupling),
        after=count(coupling, coupling.narrowed(cuts)),
        cuts=cuts,
        tensors=narrowings(coupling, cuts),
        dropped=dropped(coupling, cuts),
    )
    return SITUATIONS[situation].build(), shrink(coupling, cuts), plan


def a_split(images: int, *, seed: int = 0, size: tuple[int, ...] = IMAGE, offset: float = 0.0) -> Split:
    """Images of four classes: a pattern per class, and as much noise."""
    patterns = np.random.default_rng(99).standard_normal((CLASSES, *size))
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(images) % CLASSES)
    inputs = (offset + patterns[labels] + random.standard_normal((images, *size))).astype(np.float32)

    def read(indices: Sequence[int]) -> np.ndarray:
        return inputs[np.asarray(indices, np.int64)]

    return Split(Samples(images, read, labels, "patterns"), np.arange(images), Preprocess())


def once_each(split: Split) -> Split:
    """One image of every class."""
    labels = split.labels
    assert labels is not None
    return split.at(np.unique(labels, return_index=True)[1])


def unlabelled(split: Split) -> Split:
    """The same images, of which nobody knows what they show."""
    return replace(split, samples=replace(split.samples, labels=None))


@cache
def tiny_folder() -> Path:
    """A folder with every file that can be made of the network; do not write into it."""
    folder = Path(tempfile.mkdtemp(prefix="edgeprune-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def tiny_floats() -> tuple[Artifact, ...]:
    """The float32 files in `tiny_folder()`: ONNX, TFLite."""
    written, failed = export(tiny_coupling().program, ("onnx", "tflite"), tiny_folder(), parent="cd34")
    assert not failed
    return tuple(written)


@cache
def tiny_quantized() -> tuple[Artifact, ...]:
    """Every smaller file in `tiny_folder()`, static int8 calibrated on 64 images."""
    folder = tiny_folder()
    static, failed = quantize(tiny_floats(), ("fp16", "int8-static"), a_split(64), folder)
    dynamic, also_failed = quantize(tiny_floats(), ("int8-static",), None, folder)
    assert not failed
    assert not also_failed
    return (*static, *dynamic)

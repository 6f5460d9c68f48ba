"""One small trained network that int8 breaks, and its files: one channel is a thousand times as large.

The layer that reads it makes up for it, so that float32 answers as before. Between the two layers one range
holds all channels, and its 256 levels leave none to the small ones.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from tiny import a_split
from torch import Tensor, nn
from zoo import IMAGE

from edgeprune.core.artifact import Artifact
from edgeprune.core.progress import Silent
from edgeprune.core.quantization import Guard
from edgeprune.graph.capture import Program, capture
from edgeprune.stages.export import export
from edgeprune.stages.guard import Bench
from edgeprune.stages.verify import judge

OUTLIER = 1000.0
SELECTION, CALIBRATION = a_split(200, seed=7), a_split(100)


class Fragile(nn.Module):
    """Three convolutions and a linear layer; the first two are those between which the channel is large."""

    def __init__(self) -> None:
        super().__init__()
        self.loud = nn.Conv2d(3, 8, 3, stride=2)
        self.hushed = nn.Conv2d(8, 8, 3, stride=2)
        self.calm = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of four classes."""
        return self.head(self.calm(self.hushed(self.loud(x).relu()).relu()).relu().flatten(1))


def network() -> Fragile:
    """The module after forty steps, and then with the large channel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Fragile().train()
        inputs, labels = next(a_split(200).batches(200))
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(40):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(torch.from_numpy(inputs)), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        module.loud.weight[0] *= OUTLIER
        module.loud.bias[0] *= OUTLIER  # type: ignore[index]
        module.hushed.weight[:, 0] /= OUTLIER
    return module.eval()


@cache
def trained() -> Program:
    """The network, captured."""
    return capture(network(), IMAGE)


@cache
def narrow_minded() -> Program:
    """The network when it never answers the last class: a quarter of the images are lost."""
    module = network()
    with torch.no_grad():
        module.head.bias[-1] = -1e6
    return capture(module, IMAGE)


@cache
def fragile_folder() -> Path:
    """The folder of its float32 files; do not write into it."""
    folder = Path(tempfile.mkdtemp(prefix="edgeprune-fragile-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def fragile_floats() -> tuple[Artifact, ...]:
    """The float32 files in `fragile_folder()`: ONNX, TFLite."""
    written, failed = export(trained(), ("onnx", "tflite"), fragile_folder(), parent="cd34")
    assert not failed
    return tuple(written)


def fragile_float(format: str, folder: Path) -> Artifact:
    """Its float32 file of a format, in another folder."""
    artifact = next(one for one in fragile_floats() if one.format == format)
    shutil.copy(fragile_folder() / artifact.path, folder)
    return artifact


@cache
def bench(at_most: float = 1.0) -> Bench:
    """Labelled images, and a bound on what a file may lose against float32."""
    answers = judge(trained(), SELECTION, Silent(), "network")[1]
    assert SELECTION.labels is not None
    return Bench(
        calibration=CALIBRATION,
        selection=SELECTION,
        labels=SELECTION.labels,
        base=answers,
        float32=answers,
        guard=Guard(at_most=at_most),
    )

"""What the refit does for every kind of layer: untrained networks, and two small ones trained here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.memory import noise
from benchmarks.page import say
from benchmarks.separable import NETWORKS, fashion, trained
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.samples import Samples, Split
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay

DATA = Path(os.environ.get("EDGEPRUNE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "fashion_mnist"


class UNet(nn.Module):
    """Two resolutions, joined again behind a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.high = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.low = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 16, 3, 2, 1, 1)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        """One map per class."""
        high = self.high(x)
        y: Tensor = self.head(torch.cat([high, self.up(self.low(high))], 1))
        return y


def sound_net() -> nn.Module:
    """Convolutions along time, one of them grouped, one dilated."""
    return nn.Sequential(
        *(nn.Conv1d(2, 32, 9, 4, 4), nn.BatchNorm1d(32), nn.ReLU()),
        *(nn.Conv1d(32, 64, 5, padding="same", groups=4), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.Conv1d(64, 64, 3, padding=4, dilation=4), nn.BatchNorm1d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A torchvision network for ten classes."""

    def make() -> nn.Module:
        import_torchvision()
        from torchvision import models

        net: nn.Module = models.get_model(name, num_classes=10, **options)
        return net

    return make


UNTRAINED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mobilenet_v2": (vision("mobilenet_v2"), (3, 64, 64)),
    "mobilenet_v3_small": (vision("mobilenet_v3_small"), (3, 64, 64)),
    "efficientnet_b0": (vision("efficientnet_b0"), (3, 64, 64)),
    "shufflenet_v2_x1_0": (vision("shufflenet_v2_x1_0"), (3, 64, 64)),
    "resnext50_32x4d": (vision("resnext50_32x4d"), (3, 64, 64)),
    "densenet121": (vision("densenet121"), (3, 64, 64)),
    "vit_b_16": (vision("vit_b_16", image_size=64), (3, 64, 64)),
    "r3d_18": (vision("r3d_18"), (3, 4, 32, 32)),
    "unet": (UNet, (3, 32, 32)),
    "sound": (sound_net, (2, 256)),
}


def untrained_row(name: str) -> str:
    """Divergence before and after the refit of a network with random weights, cut to half its MACs."""
    make, size = UNTRAINED[name]
    torch.manual_seed(0)
    coupling = couple(capture(lived_in(make(), size), size))
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    proposal = plan(coupling, ranks, Budget(speedup=2.0), multiple=4)
    shrunk = replay(coupling, proposal)
    started = time.perf_counter()
    _, found = compensate(coupling, shrunk, proposal, noise(100, size, 0), noise(40, size, 1))
    seconds = time.perf_counter() - started
    verdict = f"{found.refitted} layers" if found.kept else "undone"
    before, after = found.divergence_before, found.divergence_after
    return f"| {name} | {before:.4g} | {after:.4g} | {verdict} | {seconds:.0f} |"


def untrained_section(folder: Path) -> list[str]:
    """The part of docs/benchmarks.md about every kind of layer."""
    return [
        "## Networks of every kind, random weights",
        "",
        "Half the MACs by magnitude, refitted with 100 images of noise, judged on 40 others; divergence is",
        "the squared difference of the outputs over their variance. They say nothing about accuracy.",
        "",
        "| network | divergence after the cut | after the refit | | seconds |",
        "|---|---|---|---|---|",
        *map(untrained_row, UNTRAINED),
    ]


def lived_in(net: nn.Module, size: tuple[int, ...]) -> nn.Module:
    """Batch norms that know the statistics of some images: untouched ones let activations vanish."""
    inputs = torch.from_numpy(np.concatenate([one for one, _ in noise(50, size, 2).batches(50)]))
    with torch.no_grad():
        for _ in range(3):
            net.train()(inputs)
    return net.eval()


def trained_section(folder: Path) -> list[str]:
    """The part of docs/benchmarks.md about two networks trained for it."""
    lines = [
        "## A small MobileNet and a pre-activated network on Fashion-MNIST",
        "",
        "Trained here on 20,000 images for four epochs; cut by magnitude, refitted with 1,000 other training",
        "images, judged on 500 more; accuracy on all 10,000 test images.",
        "",
        "| network | MACs | original | after the cut | after the refit | divergence |",
        "|---|---|---|---|---|---|",
    ]
    for name in NETWORKS:
        net = trained(name, DATA, folder / f"{name}.pt")
        coupling = couple(capture(net, (1, 28, 28)))
        lines += [_trained_row(name, coupling, speedup) for speedup in (1.5, 2.0, 3.0)]
    return lines


def _trained_row(name: str, coupling: Coupling, speedup: float) -> str:
    images, labels = fashion(DATA, "train")
    samples = Samples(len(images), lambda chosen: images[np.asarray(chosen)], labels, "fashion")
    calibration = Split(samples, np.arange(20_000, 21_000), Preprocess())
    selection = Split(samples, np.arange(30_000, 30_500), Preprocess())
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    proposal = plan(coupling, ranks, Budget(speedup=speedup), multiple=4)
    shrunk = replay(coupling, proposal)
    original, cut = _top1(coupling.program), _top1(shrunk)
    refitted, found = compensate(coupling, shrunk, proposal, calibration, selection)
    return (
        f"| {name} | {speedup:g}x fewer | {original:.2f} | {cut:.2f} | {_top1(refitted):.2f} | "
        f"{found.divergence_before:.3f} -> {found.divergence_after:.3f} |"
    )


def _top1(program: Program) -> float:
    images, labels = fashion(DATA, "t10k")
    answers = [program.run(batch) for batch in torch.from_numpy(images).split(200)]
    return float(100 * (torch.cat(answers).argmax(1).numpy() == labels).mean())


if __name__ == "__main__":
    for name in sys.argv[1:] or UNTRAINED:
        say(untrained_row(name))

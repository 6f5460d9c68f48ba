"""What the refit does for networks with every kind of layer: untrained ones, and two small ones trained here."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.memory import noise
from benchmarks.page import say
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay


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
    coupling = couple(capture(_lived_in(make(), size), size))
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    proposal = plan(coupling, ranks, Budget(speedup=2.0), multiple=4)
    shrunk = replay(coupling, proposal)
    started = time.perf_counter()
    _, found = compensate(coupling, shrunk, proposal, noise(100, size, 0), noise(40, size, 1))
    seconds = time.perf_counter() - started
    verdict = f"{found.refitted} layers" if found.kept else "undone"
    return f"| {name} | {found.divergence_before:.4g} | {found.divergence_after:.4g} | {verdict} | {seconds:.0f} |"


def _lived_in(net: nn.Module, size: tuple[int, ...]) -> nn.Module:
    """Batch norms that know the statistics of some images: untouched ones let activations vanish."""
    inputs = torch.from_numpy(np.concatenate([one for one, _ in noise(50, size, 2).batches(50)]))
    with torch.no_grad():
        for _ in range(3):
            net.train()(inputs)
    return net.eval()


if __name__ == "__main__":
    for name in sys.argv[1:] or UNTRAINED:
        say(untrained_row(name))

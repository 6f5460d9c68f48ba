"""Small networks for Fashion-MNIST: a MobileNet (107 k parameters), and one whose batch norms come first.

Trained here in a few minutes, since weights are not kept in the repository.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.page import say

_BATCH = 100
_IMAGES = 20_000  # of 60,000: the network need not be a good one, only a trained one
_PEAK_RATE = 0.2
_OFFSETS = {"images": 16, "labels": 8}  # bytes before the values of an idx file


def separable_net() -> nn.Module:
    """Seven inverted residual blocks for grey images of 28 by 28 pixels."""
    blocks = [
        InvertedResidual(16, 64, 24, 1, nn.ReLU),
        InvertedResidual(24, 72, 24, 1, nn.ReLU),
        InvertedResidual(24, 96, 40, 2, nn.Hardswish, excite=24),
        InvertedResidual(40, 160, 40, 1, nn.Hardswish, excite=40),
        InvertedResidual(40, 160, 40, 1, nn.Hardswish, excite=40),
        InvertedResidual(40, 160, 64, 1, nn.Hardswish),
    ]
    return nn.Sequential(
        *conv_norm(1, 16, 3, stride=2),
        nn.Hardswish(),
        *blocks,
        *conv_norm(64, 160, 1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(160, 10),
    )


def preactivated_net() -> nn.Module:
    """Residual blocks whose batch norms come first: behind a sum, not behind a layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False),
        *(Preactivated(16, 16), Preactivated(16, 16), Preactivated(16, 32, 2), Preactivated(32, 32)),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class Preactivated(nn.Module):
    """Norm, ReLU, convolution, twice."""

    def __init__(self, inputs: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(inputs), nn.BatchNorm2d(out)
        self.widen = nn.Conv2d(inputs, out, 3, stride, 1, bias=False)
        self.mix = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(inputs, out, 1, stride, bias=False) if inputs != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the way through and the skip."""
        y = F.relu(self.first(x))
        z: Tensor = self.mix(F.relu(self.second(self.widen(y))))
        return self.skip(x) + z


class InvertedResidual(nn.Module):
    """Widen, filter every channel by itself, weigh the channels, narrow."""

    def __init__(
        self, inputs: int, wide: int, out: int, stride: int, activation: type[nn.Module], excite: int = 0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(inputs, wide, 1),
            activation(),
            *conv_norm(wide, wide, 3, stride=stride, groups=wide),
            activation(),
            *([SqueezeExcite(wide, excite)] if excite else []),
            *conv_norm(wide, out, 1),
        )
        self.skips = inputs == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """With a skip where the shapes allow one."""
        y: Tensor = self.body(x)
        return x + y if self.skips else y


class SqueezeExcite(nn.Module):
    """Multiply channels by what a two-layer network makes of their means."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, 1)
        self.up = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The channels, weighed."""
        means = x.mean((2, 3), keepdim=True)
        return x * F.hardsigmoid(self.up(F.relu(self.down(means))))


def conv_norm(inputs: int, out: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the resolution up to its stride, and a batch norm."""
    conv = nn.Conv2d(inputs, out, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


def fashion(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, 28, 28) in 0 to 1, and labels; `part` is train or t10k."""
    read = {}
    for kind, name in (("images", "idx3"), ("labels", "idx1")):
        with gzip.open(folder / f"{part}-{kind}-{name}-ubyte.gz") as file:
            read[kind] = np.frombuffer(file.read(), np.uint8, offset=_OFFSETS[kind])
    images = read["images"].reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return images, read["labels"].astype(np.int64)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "separable": (separable_net, 4),
    "preactivated": (preactivated_net, 4),
}
"""How each network is made, and for how many epochs it is trained."""


def trained(name: str, folder: Path, kept: Path, *, seed: int = 0) -> nn.Module:
    """A network after its training, or with the weights that an earlier call left in `kept`."""
    torch.manual_seed(seed)
    build, epochs = NETWORKS[name]
    net = build()
    if kept.exists():
        net.load_state_dict(torch.load(kept, weights_only=True))
        return net.eval()
    images, labels = (torch.from_numpy(array[:_IMAGES]) for array in fashion(folder, "train"))
    steps = epochs * (len(images) // _BATCH)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=_PEAK_RATE, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=steps)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(images)).split(_BATCH):
            inputs = images[chosen].flip(3) if torch.rand(()) < 0.5 else images[chosen]
            loss = F.cross_entropy(net(inputs), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        say(f"{name}: epoch {epoch + 1} of {epochs}, loss {loss.item():.3f}")
    torch.save(net.state_dict(), kept)
    return net.eval()


if __name__ == "__main__":
    trained(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

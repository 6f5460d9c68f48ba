"""A small residual network for 8x8 handwritten digits, with every kind of branch a cut has to respect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def digits_net() -> nn.Module:
    """Build the untrained network: (n, 1, 8, 8) grey images to (n, 10) logits."""
    return DigitsNet()


class DigitsNet(nn.Module):
    """Residual blocks around one halving step whose two branches are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 32, size=3)
        self.fine = Residual(32)
        self.halve = Halve(32, 64)
        self.coarse1 = Residual(64)
        self.coarse2 = Residual(64)
        self.head = _conv(64, 96, size=1)
        self.classify = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map a batch of images to logits."""
        maps = self.fine(F.relu(self.stem(images)))
        maps = self.coarse2(self.coarse1(self.halve(maps)))
        maps = F.relu(self.head(maps))
        logits: Tensor = self.classify(F.adaptive_avg_pool2d(maps, 1).flatten(1))
        return logits


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width, size=3)
        self.second = _conv(width, width, size=3)

    def forward(self, maps: Tensor) -> Tensor:
        """Keep the shape."""
        return F.relu(maps + self.second(F.relu(self.first(maps))))


class Halve(nn.Module):
    """Half the resolution: a plain and a depthwise-separable branch, concatenated."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.plain = _conv(width, out // 2, size=3, stride=2)
        self.depthwise = _conv(width, width, size=3, stride=2, groups=width)
        self.pointwise = _conv(width, out // 2, size=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Halve height and width."""
        separable = self.pointwise(F.relu(self.depthwise(maps)))
        return F.relu(torch.cat([self.plain(maps), separable], dim=1))


def _conv(width: int, out: int, *, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, size, stride=stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))

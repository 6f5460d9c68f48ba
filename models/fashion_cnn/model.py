"""A small convolutional network for 28x28 pictures of clothes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def fashion_cnn() -> nn.Module:
    """Build the untrained network: (n, 1, 28, 28) grey images to (n, 10) logits."""
    return FashionCnn()


class FashionCnn(nn.Module):
    """Four convolutions, twice at half the resolution, and a linear layer over what is left of space."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _conv(1, 16, stride=2)
        self.second = _conv(16, 32)
        self.third = _conv(32, 64, stride=2)
        self.fourth = _conv(64, 64)
        self.classify = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map a batch of images to logits."""
        maps = F.relu(self.second(F.relu(self.first(images))))
        maps = F.relu(self.fourth(F.relu(self.third(maps))))
        logits: Tensor = self.classify(maps.mean(dim=(2, 3)))
        return logits


def _conv(width: int, out: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))

"""Residual networks for 32x32 images, as section 4.2 of He et al. (2015) describes them.

The parameter names (`conv1`, `bn1`, `layer1.0.conv1`, ..., `linear`) are those of the checkpoints people
share for these networks, so that such a state dict loads strictly.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv:1512.03385.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def resnet20() -> nn.Module:
    """Build 20 layers: 0.27 M parameters."""
    return CifarResNet(blocks=3)


def resnet32() -> nn.Module:
    """Build 32 layers: 0.46 M parameters."""
    return CifarResNet(blocks=5)


def resnet44() -> nn.Module:
    """Build 44 layers: 0.66 M parameters."""
    return CifarResNet(blocks=7)


def resnet56() -> nn.Module:
    """Build 56 layers: 0.85 M parameters."""
    return CifarResNet(blocks=9)


def resnet110() -> nn.Module:
    """Build 110 layers: 1.7 M parameters."""
    return CifarResNet(blocks=18)


class CifarResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels with `blocks` residual blocks each."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, 3, 32, 32) images to logits."""
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.linear(maps.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions added to a shortcut without parameters (the paper's option A)."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(width, out, stride)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = _conv3x3(out, out)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride = stride
        self.padding = (out - width) // 2

    def forward(self, maps: Tensor) -> Tensor:
        """Add what the convolutions learnt to the shortcut."""
        learnt = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps)))))
        return F.relu(learnt + self._shortcut(maps))

    def _shortcut(self, maps: Tensor) -> Tensor:
        if self.stride == 1 and self.padding == 0:
            return maps
        sampled = maps[:, :, :: self.stride, :: self.stride]
        # New channels start at zero, half of them on either side of the old ones.
        return F.pad(sampled, (0, 0, 0, 0, self.padding, self.padding))


def _stage(width: int, out: int, blocks: int, *, stride: int) -> nn.Sequential:
    rest = [Block(out, out, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(width, out, stride), *rest)


def _conv3x3(width: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, out, 3, stride=stride, padding=1, bias=False)

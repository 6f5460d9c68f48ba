"""A MobileNetV3-style network for 28x28 pictures of clothes: hard-swish, squeeze-and-excite, depthwise."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_BLOCKS = (
    # kernel, expanded, out, stride, squeeze-and-excite, hard-swish
    (3, 32, 16, 1, False, False),
    (3, 72, 24, 2, False, False),
    (3, 96, 24, 1, False, False),
    (5, 120, 40, 2, True, True),
    (5, 160, 40, 1, True, True),
    (5, 160, 40, 1, True, True),
    (5, 200, 56, 1, True, True),
    (5, 224, 56, 1, True, True),
)
_STEM = 16
_LAST = 224
_HEAD = 320


def fashion_mobile() -> nn.Module:
    """Build the untrained network: (n, 1, 28, 28) grey images to (n, 10) logits."""
    return FashionMobile()


class FashionMobile(nn.Module):
    """A stem at half the resolution, eight inverted residual blocks, a head over what is left of space."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, _STEM, 3, stride=2)
        blocks, width = [], _STEM
        for kernel, expanded, out, stride, excite, swish in _BLOCKS:
            blocks.append(InvertedResidual(width, expanded, out, kernel, stride, excite=excite, swish=swish))
            width = out
        self.blocks = nn.Sequential(*blocks)
        self.last = _conv(width, _LAST, 1)
        self.hidden = nn.Linear(_LAST, _HEAD)
        self.classify = nn.Linear(_HEAD, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map a batch of images to logits."""
        maps = F.hardswish(self.stem(images))
        maps = F.hardswish(self.last(self.blocks(maps)))
        logits: Tensor = self.classify(F.hardswish(self.hidden(maps.mean(dim=(2, 3)))))
        return logits


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, weigh channels, project; a shortcut where shapes allow."""

    def __init__(
        self, width: int, expanded: int, out: int, kernel: int, stride: int, *, excite: bool, swish: bool
    ) -> None:
        super().__init__()
        self.expand = _conv(width, expanded, 1)
        self.filter = _conv(expanded, expanded, kernel, stride=stride, groups=expanded)
        self.excite = SqueezeExcite(expanded) if excite else nn.Identity()
        self.project = _conv(expanded, out, 1)
        self.activation = nn.Hardswish() if swish else nn.ReLU()
        self.shortcut = stride == 1 and width == out

    def forward(self, maps: Tensor) -> Tensor:
        """Map (n, width, h, w) to (n, out, h / stride, w / stride)."""
        inner = self.activation(self.filter(self.activation(self.expand(maps))))
        result: Tensor = self.project(self.excite(inner))
        return maps + result if self.shortcut else result


class SqueezeExcite(nn.Module):
    """A weight between 0 and 1 for each channel, from the means of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(8, width // 4)
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.widen = nn.Conv2d(squeezed, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh the channels of (n, width, h, w)."""
        means = maps.mean(dim=(2, 3), keepdim=True)
        return maps * F.hardsigmoid(self.widen(F.relu(self.squeeze(means))))


def _conv(width: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))

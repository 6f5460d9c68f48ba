"""Small networks, one per situation that coupling must understand, with what is expected of each.

A situation names every group that may be cut, with its units, and every group that may not, with
the reason; the group of the last layer is always locked as "the network's output" and not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.capture import capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.input import Input

IMAGE = (3, 16, 16)

Forward = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Situation:
    """How to build the network, what it takes, and what coupling says about it."""

    make: Callable[[], nn.Module]
    inputs: tuple[int, ...] | tuple[Input, ...] = IMAGE
    free: Mapping[str, int] = field(default_factory=dict)
    """Units of every group that may be cut."""
    locked: Mapping[str, str] = field(default_factory=dict)
    """Why each other group may not; conservative locks are stated here like any other."""
    allow: tuple[str, ...] = ()
    """Inexact operators under which cuts are allowed."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """Sizes of the first input."""
        first = self.inputs[0]
        return first.size if isinstance(first, Input) else self.inputs  # type: ignore[return-value]

    def coupling(self) -> Coupling:
        """The captured network, coupled."""
        return couple(capture(self.build(), self.inputs), self.allow)

    def build(self) -> nn.Module:
        """The network in evaluation mode, with seeded weights and statistics unlike the defaults."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return lived_in(self.make()).eval()


SITUATIONS: dict[str, Situation] = {}


def situation(
    *,
    free: Mapping[str, int] | None = None,
    locked: Mapping[str, str] | None = None,
    inputs: tuple[int, ...] | tuple[Input, ...] = IMAGE,
    allow: tuple[str, ...] = (),
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Enter a network into the table under its function's name."""

    def enter(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        SITUATIONS[make.__name__] = Situation(make, inputs, free or {}, locked or {}, allow)
        return make

    return enter


class Net(nn.Module):
    """Named layers, parameters and buffers, and a function that says how they are wired."""

    def __init__(self, wiring: Forward, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self._wiring = wiring
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *x: Tensor) -> Any:
        return self._wiring(self, *x)


def lived_in(module: nn.Module) -> nn.Module:
    """Batch norms as after training: no statistic, gain or shift is at its neutral value."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for tensor, spread, centre in (
                (part.running_mean, 0.5, 0.0),
                (part.running_var, 0.3, 1.0),
                (part.weight, 0.3, 1.0),
                (part.bias, 0.5, 0.0),
            ):
                if tensor is not None:
                    nn.init.uniform_(tensor, centre - spread, centre + spread)
    return module


def conv_bn(inputs: int, outputs: int, kernel: int = 3, **options: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the size of the image stays."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def parameter(*shape: int) -> nn.Parameter:
    """A parameter of random values."""
    return nn.Parameter(torch.randn(shape))


def pooled(x: Tensor) -> Tensor:
    """Mean over space."""
    return x.mean((2, 3))


# -- channels that meet ------------------------------------------------------------------------------


@situation(free={"stem.0": 16, "body.0": 12})
def residual_add() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(F.relu(x + net.last(net.body(x)))))

    return Net(
        wiring,
        stem=conv_bn(3, 16),
        body=conv_bn(16, 12),
        last=nn.Sequential(nn.Conv2d(12, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)),
        head=nn.Linear(16, 10),
    )


@situation(free={"stem.0": 8, "body.0": 8})
def residual_option_a() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return net.head(pooled(F.relu(net.body(x) + short)))

    body = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16))
    return Net(wiring, stem=conv_bn(3, 8), body=body, head=nn.Linear(16, 10))


@situation(free={"stem": 8})
def inplace_relu_residual() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        y = F.relu(x, inplace=True)
        return net.head(pooled(x + net.body(y)))

    return Net(wiring, stem=nn.Conv2d(3, 8, 3), body=nn.Conv2d(8, 8, 3, padding=1), head=nn.Linear(8, 10))


@situation(free={"stem.0": 16, "down": 4})
def squeeze_excite() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        gate = net.up(F.relu(net.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return net.head(pooled(x * gate))

    return Net(
        wiring, stem=conv_bn(3, 16), down=nn.Conv2d(16, 4, 1), up=nn.Conv2d(4, 16, 1), head=nn.Linear(16, 10)
    )


@situation(free={"stem.0": 8, "body": 12})
def film() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        gain, shift = net.modulate(pooled(x)).chunk(2, dim=1)
        x = net.body(x) * gain[:, :, None, None] + shift[:, :, None, None]
        return net.head(pooled(F.relu(x)))

    return Net(
        wiring,
        stem=conv_bn(3, 8),
        body=nn.Conv2d(8, 12, 3),
        modulate=nn.Linear(8, 24),
        head=nn.Linear(12, 10),
    )


@situation(
    free={"stem.0": 8, "body.0": 12},
    locked={"gate": "one index that is repeated for all others"},
)
def spatial_attention() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return net.head(pooled(net.body(x) * net.gate(seen).sigmoid()))

    return Net(
        wiring,
        stem=conv_bn(3, 8),
        body=conv_bn(8, 12),
        gate=nn.Conv2d(2, 1, 3, padding=1),
        head=nn.Linear(12, 10),
    )


@situation(
    free={"stem.0": 8, "both#3": 8},
    locked={
        "both": "one index that is repeated for all others",
        "both#2": "one index that is repeated for all others",
    },
)
def broadcast_gate() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        gate, other, rest = net.both(x).split([1, 1, 8], dim=1)
        return net.head(pooled(rest * gate.sigmoid() + other))

    return Net(wiring, stem=conv_bn(3, 8), both=nn.Conv2d(8, 10, 3), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "down.0": 12, "body.0": 10})
def upsample_skip() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        deep = F.interpolate(net.down(F.max_pool2d(x, 2)), scale_factor=2, mode="nearest")
        return net.head(net.body(torch.cat([x, deep], 1)))

    return Net(
        wiring, stem=conv_bn(3, 8), down=conv_bn(8, 12), body=conv_bn(20, 10), head=nn.Conv2d(10, 4, 1)
    )


# -- joining and dividing ----------------------------------------------------------------------------


@situation(free={"left": 2, "left#2": 6, "right": 8, "one": 6, "two": 6})
def concat_split() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        both = F.relu(net.norm(torch.cat([net.left(x), net.right(x)], 1)))
        first, second, third = both.split(8, dim=1)
        return net.head(pooled(torch.cat([net.one(first + second), net.two(third)], 1)))

    return Net(
        wiring,
        left=nn.Conv2d(3, 10, 3),
        right=nn.Conv2d(3, 14, 3),
        norm=nn.BatchNorm2d(24),
        one=nn.Conv2d(8, 6, 1),
        two=nn.Conv2d(8, 6, 1),
        head=nn.Linear(12, 10),
    )


@situation(free={"stem.0": 8, "one.0": 6, "two.0": 6})
def dense_concat() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        for layer in (net.one, net.two):
            x = torch.cat([x, layer(x)], 1)
        return net.head(pooled(net.norm(x)))

    return Net(
        wiring,
        stem=conv_bn(3, 8),
        one=conv_bn(8, 6),
        two=conv_bn(14, 6),
        norm=nn.BatchNorm2d(20),
        head=nn.Linear(20, 10),
    )


@situation(free={"stem.0": 8, "body.0": 8})
def concat_of_the_same() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(net.body(torch.cat([x, x], 1))))

    return Net(wiring, stem=conv_bn(3, 8), body=conv_bn(16, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "body.0": 8})
def raw_input_concat() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(net.body(torch.cat([x, net.stem(x)], 1))))

    return Net(wiring, stem=conv_bn(3, 8), body=conv_bn(11, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 16, "body.0": 8})
def channel_shuffle() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = x.view(x.shape[0], 2, 8, 16, 16).transpose(1, 2).reshape(x.shape[0], 16, 16, 16)
        return net.head(pooled(net.body(x)))

    return Net(wiring, stem=conv_bn(3, 16), body=conv_bn(16, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "stem.0#2": 8, "body.0": 8, "last.0": 12})
def chunk_cat() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        kept, worked = net.stem(x).chunk(2, dim=1)
        return net.head(pooled(net.last(torch.cat([kept, net.body(worked)], 1))))

    return Net(wiring, stem=conv_bn(3, 16), body=conv_bn(8, 8), last=conv_bn(16, 12), head=nn.Linear(12, 10))


@situation(free={"stem.0": 12, "stem.0#2": 4, "one.0": 8})
def split_constants() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        wide, narrow = torch.split(net.stem(x), [12, 4], dim=1)
        return net.head(pooled(net.one(wide) + net.two(narrow)))

    return Net(wiring, stem=conv_bn(3, 16), one=conv_bn(12, 8), two=conv_bn(4, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 12, "stem.0#2": 4, "body.0": 8})
def slice_cat() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(net.body(torch.cat([x[:, 4:], x[:, :8]], 1))))

    return Net(wiring, stem=conv_bn(3, 16), body=conv_bn(20, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "stem.0#2": 8, "body.0": 8})
def slice_with_a_step() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(net.body(net.stem(x)[:, ::2])))

    return Net(wiring, stem=conv_bn(3, 16), body=conv_bn(8, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "one.0": 12})
def stack_sum() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(torch.stack([net.one(x), net.two(x)], 1).sum(1)))

    return Net(wiring, stem=conv_bn(3, 8), one=conv_bn(8, 12), two=conv_bn(8, 12), head=nn.Linear(12, 10))


@situation(free={"stem.0": 8, "body": 8, "body#2": 2})
def maxout() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.body(net.stem(x))
        return net.head(pooled(x.view(x.shape[0], 8, 2, 16, 16).amax(2)))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Conv2d(8, 16, 3, padding=1), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "body": 12})
def glu() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(F.glu(net.body(net.stem(x)), dim=1)))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Conv2d(8, 24, 3), head=nn.Linear(12, 10))


@situation(free={"stem": 8, "other": 5, "body.0": 8})
def constant_pad() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        padded = F.pad(net.stem(x), (1, 1, 1, 1, 2, 3), value=0.7)
        return net.head(pooled(net.body(padded + net.other(x))))

    return Net(
        wiring,
        stem=nn.Conv2d(3, 8, 3, padding=1),
        other=nn.Conv2d(3, 13, 3, padding=2),
        body=conv_bn(13, 8),
        head=nn.Linear(8, 10),
    )


# -- reshaping ---------------------------------------------------------------------------------------


@situation(free={"stem.0": 16, "body": 12})
def view_constant() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x).view(-1, 16, 64)
        return net.head(net.body(x).mean(2))

    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())
    return Net(wiring, stem=stem, body=nn.Conv1d(16, 12, 3), head=nn.Linear(12, 10))


@situation(free={"stem.0": 8, "body": 24})
def flatten_channels_first() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(F.relu(net.body(torch.flatten(F.max_pool2d(net.stem(x), 4), 1))))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Linear(128, 24), head=nn.Linear(24, 10))


@situation(free={"stem.0": 8, "body": 24})
def flatten_channels_last() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = F.max_pool2d(net.stem(x), 4).permute(0, 2, 3, 1)
        return net.head(F.relu(net.body(x.reshape(x.shape[0], 128))))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Linear(128, 24), head=nn.Linear(24, 10))


@situation(free={"stem.0": 8, "up": 6, "body.0": 8})
def pixel_shuffle() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(net.body(F.pixel_shuffle(net.up(net.stem(x)), 2)))

    return Net(
        wiring,
        stem=conv_bn(3, 8),
        up=nn.Conv2d(8, 24, 3, padding=1),
        body=conv_bn(6, 8),
        head=nn.Conv2d(8, 3, 1),
    )


@situation(free={"stem.0": 8})
def mean_over_space() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(torch.cat([x.mean([2, 3]), x.amax((2, 3)), x.sum(3).sum(2)], 1))

    return Net(wiring, stem=conv_bn(3, 8), head=nn.Linear(24, 10))


# -- kinds of layers ---------------------------------------------------------------------------------


@situation(free={"0.0": 12, "2.0": 8})
def depthwise() -> nn.Module:
    layers = [conv_bn(3, 12), conv_bn(12, 12, groups=12), conv_bn(12, 8, kernel=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@situation(free={"0.0": 8, "2.0": 8})
def depthwise_multiplier() -> nn.Module:
    layers = [conv_bn(3, 8), conv_bn(8, 16, groups=8), conv_bn(16, 8, kernel=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@situation(free={"0.0/groups": 4, "0.0": 4, "1.0": 6, "2.0": 8})
def grouped() -> nn.Module:
    layers = [conv_bn(3, 16), conv_bn(16, 24, groups=4), conv_bn(24, 8, kernel=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@situation(free={"stem.0/groups": 2, "stem.0": 4, "body.0": 3})
def grouped_residual() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(x + net.last(net.body(x))))

    return Net(
        wiring,
        stem=conv_bn(3, 16),
        body=conv_bn(16, 12, groups=2),
        last=nn.Conv2d(12, 16, 1, groups=4),
        head=nn.Linear(16, 10),
    )


@situation(inputs=(3, 32), free={"0": 12, "4": 8})
def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 12, 5),
        nn.BatchNorm1d(12),
        nn.GELU(),
        nn.MaxPool1d(2),
        nn.Conv1d(12, 8, 3, padding="same"),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


@situation(inputs=(2, 8, 8, 8), free={"0": 8, "4": 8})
def conv3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 8, 3),
        nn.BatchNorm3d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool3d(2),
        nn.Conv3d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


@situation(free={"0.0": 8, "1": 12})
def transposed_conv() -> nn.Module:
    up = nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1)
    return nn.Sequential(conv_bn(3, 8), up, nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 3))


@situation(free={"0.0/groups": 4, "0.0": 2, "1": 3, "3.0": 8})
def grouped_transposed_conv() -> nn.Module:
    up = nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1, groups=4)
    return nn.Sequential(conv_bn(3, 8), up, nn.ReLU(), conv_bn(12, 8), nn.Conv2d(8, 4, 3))


@situation(free={"first": 8})
def functional_conv() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, net.first, net.bias, padding=1))
        x = F.relu(F.conv2d(x, weight=net.second, groups=8, padding=1))
        return F.linear(pooled(x), net.third)

    return Net(
        wiring,
        first=parameter(8, 3, 3, 3),
        bias=parameter(8),
        second=parameter(8, 1, 3, 3),
        third=parameter(10, 8),
    )


@situation(free={"0.0": 8, "1": 12, "3.0": 8})
def weight_norm() -> nn.Module:
    parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 12, 3))
    return nn.Sequential(
        conv_bn(3, 8),
        parametrized,
        nn.ReLU(),
        conv_bn(12, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


@situation(free={"stem.0": 8, "embed": 12})
def tied_linear() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(net.embed(pooled(net.stem(x))))
        return net.head(F.relu(net.second(F.relu(x))))

    net = Net(
        wiring,
        stem=conv_bn(3, 8),
        embed=nn.Linear(8, 12),
        first=nn.Linear(12, 12),
        second=nn.Linear(12, 12),
        head=nn.Linear(12, 10),
    )
    net.second.weight = net.first.weight
    return net


@situation(free={"stem.0": 12})
def module_used_twice() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(net.body(net.body(x))))

    return Net(wiring, stem=conv_bn(3, 12), body=conv_bn(12, 12), head=nn.Linear(12, 10))


@situation(free={"stem.0": 8})
def per_channel_scale() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        return net.head(pooled(x + net.scale * net.body(x) * net.gain))

    return Net(
        wiring,
        stem=conv_bn(3, 8),
        body=conv_bn(8, 8),
        scale=parameter(8, 1, 1),
        gain=parameter(1),
        head=nn.Linear(8, 10),
    )


@situation(free={"stem": 8})
def buffers_only() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x) * net.scale.view(1, -1, 1, 1) + net.shift.view(1, -1, 1, 1)
        return net.head(pooled(F.relu(x)))

    return Net(
        wiring,
        stem=nn.Conv2d(3, 8, 3, bias=False),
        scale=torch.randn(8),
        shift=torch.randn(8),
        head=nn.Linear(8, 10),
    )


@situation(free={"stem.0": 16, "body.0": 12})
def frozen() -> nn.Module:
    return residual_add().requires_grad_(False)


@situation(free={"0": 8, "2": 12})
def prelu() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 12, 3), nn.PReLU(), nn.Conv2d(12, 4, 3)]
    return nn.Sequential(*layers)


@situation(free={"0/groups": 4, "3.0": 8}, locked={"0": "normalised with the other channels of its group"})
def group_norm() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), conv_bn(8, 8), nn.Conv2d(8, 4, 3)]
    return nn.Sequential(*layers)


@situation(free={"0": 8, "3": 12})
def instance_norm() -> nn.Module:
    norm = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
    plain = nn.InstanceNorm2d(12)
    layers = [nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 12, 3), plain, nn.Conv2d(12, 4, 3)]
    return nn.Sequential(*layers)


@situation(free={"stem.0": 8, "body": 12})
def casts() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.body(net.stem(x).double().float()).to(torch.float32)
        return net.head(pooled(x * (x > 0).type_as(x)))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Conv2d(8, 12, 3), head=nn.Linear(12, 10))


# -- tokens ------------------------------------------------------------------------------------------


@situation(inputs=(20,), free={"0": 16, "4": 12})
def bn_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 12, bias=False),
        nn.Hardswish(),
        nn.Linear(12, 10),
    )


@situation(inputs=(6, 16), free={"up": 32}, locked={"embed": "normalised over this axis"})
def layer_norm_mlp() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        x = x + net.down(F.gelu(net.up(net.norm(x))))
        return net.head(x[:, 0])

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        norm=nn.LayerNorm(16),
        up=nn.Linear(16, 32),
        down=nn.Linear(32, 16),
        head=nn.Linear(16, 10),
    )


@situation(inputs=(6, 16), free={"left": 8, "right": 12, "body": 12})
def cat_last_dim() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = torch.cat([net.left(x), net.right(x)], dim=-1)
        return net.head(F.relu(net.body(x)).mean(1))

    return Net(
        wiring,
        left=nn.Linear(16, 8),
        right=nn.Linear(16, 12),
        body=nn.Linear(20, 12),
        head=nn.Linear(12, 10),
    )


def attention_parts(width: int) -> dict[str, nn.Module | Tensor]:
    """Projections of one attention block and a classifier."""
    return {name: nn.Linear(width, width) for name in ("embed", "query", "key", "value", "project")} | {
        "head": nn.Linear(width, 10)
    }


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention written out, over (batch, heads, tokens, width)."""
    return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1) @ value


@situation(inputs=(6, 16), free={"embed": 16, "query/heads": 2, "query/width": 8, "value/width": 8})
def mha_written_out() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (
            layer(x).view(-1, 6, 2, 8).transpose(1, 2) for layer in (net.query, net.key, net.value)
        )
        x = x + net.project(attend(query, key, value).transpose(1, 2).reshape(-1, 6, 16))
        return net.head(x.mean(1))

    return Net(wiring, **attention_parts(16))


@situation(inputs=(6, 16), free={"embed": 16, "query/heads": 8, "query/width": 2, "value/width": 2})
def mha_many_heads() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (
            layer(x).view(-1, 6, 8, 2).transpose(1, 2) for layer in (net.query, net.key, net.value)
        )
        x = x + net.project(attend(query, key, value).transpose(1, 2).reshape(-1, 6, 16))
        return net.head(x.mean(1))

    return Net(wiring, **attention_parts(16))


@situation(inputs=(6, 16), free={"embed": 16, "query/heads": 2, "query/width": 8, "value/width": 8})
def scaled_dot_product() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (
            layer(x).view(-1, 6, 2, 8).transpose(1, 2) for layer in (net.query, net.key, net.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return net.head((x + net.project(mixed.transpose(1, 2).reshape(-1, 6, 16))).mean(1))

    return Net(wiring, **attention_parts(16))


@situation(inputs=(6, 16), free={"embed": 16, "qkv/heads": 2, "qkv/width": 8})
def fused_qkv() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        packed = net.qkv(x).reshape(-1, 6, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = attend(packed[0], packed[1], packed[2]).transpose(1, 2).reshape(-1, 6, 16)
        return net.head((x + net.project(mixed)).mean(1))

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        qkv=nn.Linear(16, 48),
        project=nn.Linear(16, 16),
        head=nn.Linear(16, 10),
    )


@situation(inputs=(6, 16), free={"embed": 16, "qkv/heads": 2, "qkv/width": 8, "qkv/width#2": 8})
def fused_qkv_chunked() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in net.qkv(x).chunk(3, -1))
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
        return net.head((x + net.project(mixed)).mean(1))

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        qkv=nn.Linear(16, 48),
        project=nn.Linear(16, 16),
        head=nn.Linear(16, 10),
    )


@situation(inputs=(3, 8, 8), free={"stem": 12, "qkv/width": 8, "qkv/width#2": 8, "body": 20})
def window_attention() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x).permute(0, 2, 3, 1)
        windows = x.view(-1, 2, 4, 2, 4, 12).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 12)
        query, key, value = net.qkv(windows).chunk(3, -1)
        mixed = net.project((query @ key.transpose(1, 2) + net.bias).softmax(-1) @ value)
        mixed = mixed.view(-1, 2, 2, 4, 4, 12).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 12)
        return net.head(F.relu(net.body(x + mixed)).mean((1, 2)))

    return Net(
        wiring,
        stem=nn.Conv2d(3, 12, 1),
        qkv=nn.Linear(12, 24),
        bias=parameter(16, 16),
        project=nn.Linear(8, 12),
        body=nn.Linear(12, 20),
        head=nn.Linear(20, 10),
    )


@situation(inputs=(6, 16), free={"weight": 12, "embed": 16, "body": 8})
def slice_inplace() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        bias = net.bias.clone()
        bias[4:8].zero_()
        x = F.linear(net.embed(x), net.weight, bias)
        return net.head(F.relu(net.body(F.relu(x))).mean(1))

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        weight=parameter(12, 16),
        bias=parameter(12),
        body=nn.Linear(12, 8),
        head=nn.Linear(8, 10),
    )


@situation(inputs=(6, 16), free={"embed": 16, "up": 32}, allow=("layer_norm",))
def layer_norm_allowed() -> nn.Module:
    return layer_norm_mlp()


@situation(inputs=(6, 16), free={"embed": 16, "up": 32})
def rms_norm() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        x = x + net.down(F.silu(net.up(net.norm(x))))
        return net.head(net.last(x)[:, 0])

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        norm=nn.RMSNorm(16),
        up=nn.Linear(16, 32),
        down=nn.Linear(32, 16),
        last=nn.RMSNorm(16, eps=1e-2),
        head=nn.Linear(16, 10),
    )


@situation(inputs=(6, 16), free={"embed": 16, "body": 12})
def rms_norm_written_out() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3) * net.gain
        return net.head(F.normalize(net.body(x), dim=-1).mean(1))

    return Net(
        wiring, embed=nn.Linear(16, 16), gain=parameter(16), body=nn.Linear(16, 12), head=nn.Linear(12, 10)
    )


@situation(free={"0/groups": 4, "0": 2, "3.0": 8}, allow=("group_norm",))
def group_norm_allowed() -> nn.Module:
    return group_norm()


@situation(inputs=(6, 16), free={"embed": 16, "query/heads": 2, "query/width": 8, "value/width": 8})
def einsum_attention() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (layer(x).view(-1, 6, 2, 8) for layer in (net.query, net.key, net.value))
        scores = torch.einsum("bqhd, bkhd -> bhqk", query, key).softmax(-1)
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores, value)
        return net.head((x + net.project(mixed.flatten(2))).mean(1))

    return Net(wiring, **attention_parts(16))


@situation(inputs=(6, 16), free={"embed": 16, "query/heads": 2, "query/width": 8, "value/width": 8})
def batched_heads() -> nn.Module:
    """Batch and heads merged into one axis, as `torch.bmm` wants them."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query, key, value = (
            layer(x).view(-1, 6, 2, 8).transpose(1, 2).reshape(-1, 6, 8)
            for layer in (net.query, net.key, net.value)
        )
        mixed = torch.bmm(torch.baddbmm(net.bias, query, key.mT).softmax(-1), value)
        mixed = mixed.view(x.shape[0], 2, 6, 8).transpose(1, 2).reshape(-1, 6, 16)
        return net.head((x + net.project(mixed)).mean(1))

    return Net(wiring, bias=torch.randn(1, 6, 6), **attention_parts(16))


@situation(inputs=(6, 16), free={"embed": 16, "mix.in_proj_weight/heads": 4, "mix.in_proj_weight/width": 4})
def multihead_attention() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        return net.head((x + net.mix(x, x, x, need_weights=False)[0]).mean(1))

    mix = nn.MultiheadAttention(16, 4, batch_first=True)
    return Net(wiring, embed=nn.Linear(16, 16), mix=mix, head=nn.Linear(16, 10))


@situation(
    inputs=(6, 16),
    free={
        "embed": 16,
        "query/heads": 2,
        "query/heads#2": 2,
        "query/width": 4,
        "value/width": 4,
    },
)
def grouped_query_attention() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x)
        query = net.query(x).view(-1, 6, 4, 4).transpose(1, 2)
        key, value = (layer(x).view(-1, 6, 2, 4).transpose(1, 2) for layer in (net.key, net.value))
        mixed = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        return net.head((x + net.project(mixed.transpose(1, 2).flatten(2))).mean(1))

    sizes = {"embed": (16, 16), "query": (16, 16), "key": (16, 8), "value": (16, 8), "project": (16, 16)}
    return Net(wiring, **{name: nn.Linear(*size) for name, size in sizes.items()}, head=nn.Linear(16, 10))


@situation(inputs=(6, 16), free={"embed": 12, "lstm.weight_ih_l0": 8, "gru.weight_ih_l0": 6})
def recurrent() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x, _ = net.lstm(net.embed(x))
        x, last = net.gru(x)
        return net.head(torch.cat([x[:, -1], last[0]], 1))

    return Net(
        wiring,
        embed=nn.Linear(16, 12),
        lstm=nn.LSTM(12, 8, num_layers=2, bidirectional=True, batch_first=True),
        gru=nn.GRU(16, 6, batch_first=True),
        head=nn.Linear(12, 10),
    )


@situation(free={"stem.0": 12, "body.0": 8})
def mean_over_channels() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = net.body(x * x.mean(1, keepdim=True).sigmoid() + x.sum((1, 2), keepdim=True))
        return net.head(pooled(x))

    return Net(wiring, stem=conv_bn(3, 12), body=conv_bn(12, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 5, "stem.0#2": 3, "body.0": 6})
def rearranged() -> nn.Module:
    """Rolls over space, flips, repeats and picks over channels."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x).roll((1, 2), (2, 3)).flip(1, 3)
        x = torch.cat([x.repeat(1, 2, 1, 1), x.repeat_interleave(2, 1), x[:, net.order], x[:, 3:4]], 1)
        x = F.pixel_unshuffle(net.body(x), 2).movedim(1, -1)
        return net.head(x.mean((1, 2)))

    order = torch.tensor([5, 0, 7, 2])
    return Net(wiring, stem=conv_bn(3, 8), body=conv_bn(37, 6), order=order, head=nn.Linear(24, 10))


@situation(free={"stem.0": 12, "body.0": 8})
def shuffled_by_operator() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(net.body(F.channel_shuffle(net.stem(x), 3))))

    return Net(wiring, stem=conv_bn(3, 12), body=conv_bn(12, 8), head=nn.Linear(8, 10))


@situation(free={"stem.0": 8, "one.0.0": 6, "two.0.0": 5, "three.0.0": 7, "blocks": 3})
def residual_blocks() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        for inner in (net.one, net.two, net.three):
            x = F.relu(x + inner(x))
        return net.head(pooled(x))

    def inner(width: int) -> nn.Module:
        return nn.Sequential(conv_bn(8, width), nn.Conv2d(width, 8, 3, padding=1))

    return Net(wiring, stem=conv_bn(3, 8), one=inner(6), two=inner(5), three=inner(7), head=nn.Linear(8, 10))


@situation(
    inputs=(Input((5,), torch.int64, 11), Input((3, 8, 8))),
    free={"table": 12, "body": 8},
)
def words_and_image() -> nn.Module:
    """Two inputs, and a dictionary with a tuple for an answer."""

    def wiring(net: Net, words: Tensor, image: Tensor) -> dict[str, Any]:
        text = net.table(words).mean(1)
        seen = net.image(image)
        both = F.relu(net.body(text + pooled(seen)))
        return {"logits": net.head(both), "more": (net.other(both), net.map(seen))}

    return Net(
        wiring,
        table=nn.Embedding(11, 12),
        image=conv_bn(3, 12),
        body=nn.Linear(12, 8),
        head=nn.Linear(8, 10),
        other=nn.Linear(8, 3),
        map=nn.Conv2d(12, 2, 1),
    )


@situation(inputs=(6, 16), free={"embed": 16, "qkv/heads": 4, "qkv/width": 4})
def relative_positions() -> nn.Module:
    """Biases per head picked from a table, with scores shifted and masked as in window attention."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.embed(x.roll(1, 1))
        query, key, value = net.qkv(x).reshape(-1, 6, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        bias = net.table[net.index.view(-1)].view(6, 6, -1).permute(2, 0, 1).contiguous()
        scores = (query * 0.5) @ key.transpose(-2, -1) + bias.unsqueeze(0)
        scores = scores.masked_fill(net.index == 0, -100.0).softmax(-1)
        return net.head((x + net.project((scores @ value).transpose(1, 2).reshape(-1, 6, 16))).mean(1))

    index = torch.arange(6)[:, None] - torch.arange(6)[None] + 5
    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        qkv=nn.Linear(16, 48),
        project=nn.Linear(16, 16),
        table=parameter(11, 4),
        index=index,
        head=nn.Linear(16, 10),
    )


@situation(free={"stem.0": 8, "body.weight_folded": 12})
def weight_standardisation() -> nn.Module:
    def wiring(net: Net, x: Tensor) -> Tensor:
        weight = net.body.weight
        spread, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True)
        x = F.conv2d(net.stem(x), (weight - mean) * torch.rsqrt(spread + 1e-5), net.body.bias)
        with torch.no_grad():
            shift = x.mean((2, 3), keepdim=True)
        return net.head(pooled(F.relu(x + 0.1 * shift)))

    return Net(wiring, stem=conv_bn(3, 8), body=nn.Conv2d(8, 12, 3), head=nn.Linear(12, 10))


@situation(inputs=(6, 16), free={"embed": 16, "first": 12, "second": 8})
def transposed_weights() -> nn.Module:
    """Parameters multiplied by hand, one of them transposed."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = F.relu(net.embed(x) @ net.first)
        return net.head(F.relu(x @ net.second.t()).mean(1))

    return Net(
        wiring,
        embed=nn.Linear(16, 16),
        first=parameter(16, 12),
        second=parameter(8, 12),
        head=nn.Linear(8, 10),
    )

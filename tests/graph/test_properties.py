"""Whatever blocks a network is made of and whatever is cut, the cut is exact and costs what was said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import Net, conv_bn, lived_in

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.check import TOLERANCE, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple

SIZE = 6
Block = Callable[[int, int], tuple[nn.Module, int]]
"""From the channels that come in and a number to choose by: a block, and the channels that go out."""


def plain(channels: int, choice: int) -> tuple[nn.Module, int]:
    out = 4 + choice % 7
    return conv_bn(channels, out, kernel=(1, 3)[choice % 2]), out


def residual(channels: int, choice: int) -> tuple[nn.Module, int]:
    inner = 2 + choice % 5
    body = nn.Sequential(conv_bn(channels, inner), nn.Conv2d(inner, channels, 1))
    return Net(lambda net, x: x + net.body(x), body=body), channels


def dense(channels: int, choice: int) -> tuple[nn.Module, int]:
    out = 2 + choice % 4
    order = 1 if choice % 2 else -1
    return Net(
        lambda net, x: torch.cat([x, net.body(x)][::order], 1), body=conv_bn(channels, out)
    ), channels + out


def split(channels: int, choice: int) -> tuple[nn.Module, int]:
    first = 1 + choice % (channels - 1)

    def wiring(net: Net, x: Tensor) -> Tensor:
        left, right = x.split([first, channels - first], 1)
        return torch.cat([net.body(left), right], 1)

    return Net(wiring, body=conv_bn(first, 3)), 3 + channels - first


def halves(channels: int, choice: int) -> tuple[nn.Module, int]:
    half = channels // 2

    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.one(x[:, :half]) + net.two(x[:, -half:])

    return Net(wiring, one=conv_bn(half, 5), two=conv_bn(half, 5)), 5


def sliced_sum(channels: int, choice: int) -> tuple[nn.Module, int]:
    half = channels // 2
    return Net(lambda net, x: x[:, :half] + x[:, channels - half :]), half


def shuffle(channels: int, choice: int) -> tuple[nn.Module, int]:
    parts = (2, 3)[choice % 2]
    even = channels - channels % parts

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = x[:, :even]
        return x.view(-1, parts, even // parts, SIZE, SIZE).transpose(1, 2).reshape(-1, even, SIZE, SIZE)

    return Net(wiring), even


def grouped(channels: int, choice: int) -> tuple[nn.Module, int]:
    groups = max(one for one in (1, 2, 3, 4) if channels % one == 0)
    out = groups * (1 + choice % 3)
    return conv_bn(channels, out, groups=groups), out


def depthwise(channels: int, choice: int) -> tuple[nn.Module, int]:
    out = channels * (1 + choice % 2)
    return conv_bn(channels, out, groups=channels), out


def squeeze_excite(channels: int, choice: int) -> tuple[nn.Module, int]:
    inner = 2 + choice % 3
    gate = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
    )
    return Net(lambda net, x: x * net.gate(x).sigmoid(), gate=gate), channels


def padded(channels: int, choice: int) -> tuple[nn.Module, int]:
    before, after = choice % 3, choice % 2
    value = 0.5 * (choice % 4)
    return Net(lambda net, x: F.pad(x, (0, 0, 0, 0, before, after), value=value)), channels + before + after


def twice(channels: int, choice: int) -> tuple[nn.Module, int]:
    return Net(lambda net, x: net.body(net.body(x)), body=nn.Conv2d(channels, channels, 1)), channels


def transposed(channels: int, choice: int) -> tuple[nn.Module, int]:
    return nn.Sequential(nn.ConvTranspose2d(channels, 5, 3, padding=1), nn.ReLU()), 5


BLOCKS: list[Block] = [
    plain, residual, dense, split, halves, sliced_sum, shuffle, grouped, depthwise, squeeze_excite, padded,
    twice, transposed,
]  # fmt: skip


def mean_head(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def flat_head(x: Tensor) -> Tensor:
    return x.flatten(1)


def flat_head_channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)


HEADS = [mean_head, flat_head, flat_head_channels_last]


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """A stem, up to four blocks and a head."""
    torch.manual_seed(draw(st.integers(0, 9)))
    layers, channels = [conv_bn(3, 8)], 8
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4)):
        layer, channels = block(channels, draw(st.integers(0, 20)))
        layers.append(layer)
        if channels < 2:
            layers.append(conv_bn(channels, 4))
            channels = 4
    flatten = draw(st.sampled_from(HEADS))
    width = channels if flatten is mean_head else channels * SIZE * SIZE
    body, head = nn.Sequential(*layers), nn.Linear(width, 4)
    return lived_in(Net(lambda net, x: net.head(flatten(net.body(x))), body=body, head=head)).eval()


def any_cuts(coupling: Coupling, seed: int) -> tuple[Cut, ...]:
    """A non-empty set of kept units for every free group."""
    random = np.random.default_rng(seed)
    cuts = []
    for group in coupling.free():
        kept = random.choice(group.units, size=random.integers(1, group.units + 1), replace=False)
        cuts.append(Cut(group=group.id, units=group.units, kept=tuple(sorted(kept.tolist()))))
    return tuple(cuts)


def torchs_macs(program: Program) -> int:
    with FlopCounterMode(display=False) as counter:
        program.run(program.example(1))
    return int(counter.get_total_flops()) // 2


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(network=networks(), seed=st.integers(0, 10_000))
def test_any_cut_of_any_network_is_exact_and_costs_what_was_predicted(network: nn.Module, seed: int) -> None:
    coupling = couple(capture(network, (3, SIZE, SIZE)))
    cuts = any_cuts(coupling, seed)

    proven = prove(coupling, cuts)

    assert proven.refused == {}
    assert proven.relative_error <= TOLERANCE
    assert proven.program.run(proven.program.example(3)).shape == (3, 4)
    predicted = count(coupling, coupling.narrowed(cuts))
    parameters = {id(one): one.numel() for one in proven.program.module.parameters()}
    assert predicted.parameters == sum(parameters.values())
    assert predicted.macs == torchs_macs(proven.program)

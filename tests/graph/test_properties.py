"""Whatever blocks a network is made of and whatever is cut, the cut is exact and costs what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import Net, attend, conv_bn, lived_in

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.check import TOLERANCE, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple

SIZE = 4
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
    parts = min((2, 3)[choice % 2], channels)
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
    groups = divisor(channels, choice)
    layer = nn.ConvTranspose2d(channels, 2 * groups, 3, padding=1, groups=groups)
    return nn.Sequential(layer, nn.ReLU()), 2 * groups


def grouped_and_shuffled(channels: int, choice: int) -> tuple[nn.Module, int]:
    groups = divisor(channels, choice)
    layer = conv_bn(channels, channels, kernel=1, groups=groups)
    return Net(lambda net, x: F.channel_shuffle(net.layer(x), groups), layer=layer), channels


def gated(channels: int, choice: int) -> tuple[nn.Module, int]:
    out = 2 + choice % 4
    return Net(lambda net, x: F.glu(net.body(x), 1), body=nn.Conv2d(channels, 2 * out, 1)), out


def pixels(channels: int, choice: int) -> tuple[nn.Module, int]:
    """Into channels and back, with a layer between, or a layer for each pixel of a larger image."""
    if choice % 2:
        body = nn.Conv2d(4 * channels, 12, 1)
        return Net(lambda net, x: F.pixel_shuffle(net.body(F.pixel_unshuffle(x, 2)), 2), body=body), 3
    body = nn.Conv2d(channels, 12, 1)
    return Net(lambda net, x: F.avg_pool2d(F.pixel_shuffle(net.body(x), 2), 2), body=body), 3


def stacked(channels: int, choice: int) -> tuple[nn.Module, int]:
    axis = (1, 2, -1)[choice % 3]
    return Net(
        lambda net, x: torch.stack([net.one(x), x, net.two(x)], axis).sum(axis),
        one=conv_bn(channels, channels, kernel=1),
        two=nn.Conv2d(channels, channels, 1, groups=divisor(channels, choice)),
    ), channels


def mean_over_channels(channels: int, choice: int) -> tuple[nn.Module, int]:
    if choice % 2:
        return Net(lambda net, x: x * x.mean(1, keepdim=True).sigmoid()), channels
    return Net(
        lambda net, x: x + (x.sum(1, keepdim=True) * 0.1).tanh() * x.norm(dim=1, keepdim=True)
    ), channels


def group_norm(channels: int, choice: int) -> tuple[nn.Module, int]:
    return nn.Sequential(nn.GroupNorm(divisor(channels, choice), channels), nn.ReLU()), channels


def chain(channels: int, choice: int) -> tuple[nn.Module, int]:
    """Residual branches one after the other: whole ones go."""
    widths = [2 + choice % 3, 2, 3][: 2 + choice % 2]
    bodies = {
        f"body{place}": nn.Sequential(conv_bn(channels, width, kernel=1), nn.Conv2d(width, channels, 1))
        for place, width in enumerate(widths)
    }

    def wiring(net: Net, x: Tensor) -> Tensor:
        for name in bodies:
            branch = net.get_submodule(name)(x)
            x = x + branch if choice % 5 else F.relu(branch + x)
        return x

    return Net(wiring, **bodies), channels


def rms_norm(channels: int, choice: int) -> tuple[nn.Module, int]:
    norm = nn.RMSNorm(channels, eps=(1e-2, None)[choice % 2])
    if choice % 3:
        nn.init.uniform_(norm.weight)
    return Net(lambda net, x: net.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=norm), channels


def layer_norm(channels: int, choice: int) -> tuple[nn.Module, int]:
    """Locked, whatever else is done to the same channels."""
    norm = nn.LayerNorm(channels)
    return Net(lambda net, x: net.norm(x.flatten(2).mT).mT.unflatten(2, (SIZE, SIZE)), norm=norm), channels


def view_split(channels: int, choice: int) -> tuple[nn.Module, int]:
    parts = divisor(channels, choice)

    def wiring(net: Net, x: Tensor) -> Tensor:
        inner = x.view(-1, parts, channels // parts, SIZE, SIZE)
        return inner.sum(1) if choice % 2 else inner.amax(1)

    return Net(wiring), channels // parts


def stepped(channels: int, choice: int) -> tuple[nn.Module, int]:
    step, start = 2 + choice % 2, choice % 2
    return Net(lambda net, x: x[:, start::step] if choice % 3 else x[:, :-1:step]), len(
        range(start, channels, step) if choice % 3 else range(0, channels - 1, step)
    )


def picked(channels: int, choice: int) -> tuple[nn.Module, int]:
    order = torch.tensor([(3 * place + choice) % channels for place in range(2 + choice % 5)])
    return Net(lambda net, x: torch.cat([x[:, net.order], x[:, 0].unsqueeze(1)], 1), order=order), len(
        order
    ) + 1


def attention(channels: int, choice: int) -> tuple[nn.Module, int]:
    """Heads over pixels: written out, fused by an operator, or by einsum; split by a view or by chunks."""
    heads, width = 1 + choice % 3, 2 + choice % 2
    inner = heads * width

    def wiring(net: Net, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if choice % 2:
            packed = net.first(tokens).reshape(-1, SIZE * SIZE, 3, heads, width).permute(2, 0, 3, 1, 4)
            query, key, value = packed.unbind(0)
        else:
            query, key, value = (
                one.unflatten(-1, (heads, width)).transpose(1, 2) for one in net.first(tokens).chunk(3, -1)
            )
        mixed = attended(query, key, value, choice)
        return x + net.last(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)

    return Net(wiring, first=nn.Linear(channels, 3 * inner), last=nn.Linear(inner, channels)), channels


def attended(query: Tensor, key: Tensor, value: Tensor, choice: int) -> Tensor:
    if choice % 3 == 0:
        return F.scaled_dot_product_attention(query, key, value)
    if choice % 3 == 1:
        return attend(query, key, value)
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key).softmax(-1)
    return torch.einsum("bhqk,bhkd->bhqd", scores, value)


def recurrent(channels: int, choice: int) -> tuple[nn.Module, int]:
    """Pixels read one after the other."""
    kind = (nn.GRU, nn.LSTM)[choice % 2]
    read = kind(channels, 3, bidirectional=choice % 3 == 0, batch_first=True)
    out = 6 if choice % 3 == 0 else 3
    return Net(lambda net, x: net.read(x.flatten(2).mT)[0].mT.unflatten(2, (SIZE, SIZE)), read=read), out


def divisor(channels: int, choice: int) -> int:
    """One of the small divisors."""
    found = [one for one in (1, 2, 3, 4) if channels % one == 0]
    return found[choice % len(found)]


BLOCKS: list[Block] = [
    plain, residual, dense, split, halves, sliced_sum, shuffle, grouped, depthwise, squeeze_excite, padded,
    twice, transposed, grouped_and_shuffled, gated, pixels, stacked, mean_over_channels, group_norm, chain,
    rms_norm, layer_norm, view_split, stepped, picked, attention, recurrent,
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
    """A stem, up to four blocks and a head, sometimes a second one behind the first block."""
    torch.manual_seed(draw(st.integers(0, 9)))
    first, channels = [conv_bn(3, 8)], 8
    second: list[nn.Module] = []
    after_first = channels
    for place, block in enumerate(draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4))):
        layers = second if place else first
        layer, channels = block(channels, draw(st.integers(0, 20)))
        layers.append(layer)
        if channels < 2 or channels > 40:
            layers.append(conv_bn(channels, 6))
            channels = 6
        after_first = after_first if place else channels
    flatten = draw(st.sampled_from(HEADS))
    width = channels if flatten is mean_head else channels * SIZE * SIZE
    also = draw(st.booleans())

    def wiring(net: Net, x: Tensor) -> Tensor | dict[str, Tensor]:
        early = net.first(x)
        late = net.head(flatten(net.second(early)))
        return {"late": late, "early": net.other(early)} if also else late

    parts = {"first": nn.Sequential(*first), "second": nn.Sequential(*second), "head": nn.Linear(width, 4)}
    if also:
        parts["other"] = nn.Conv2d(after_first, 2, 1)
    return lived_in(Net(wiring, **parts)).eval()


def any_cuts(coupling: Coupling, seed: int) -> tuple[Cut, ...]:
    """A non-empty set of kept units for every free group, and for every lane of those that have some."""
    random = np.random.default_rng(seed)
    cuts = []
    for group in coupling.free():
        count = random.integers(1, group.units + 1)
        lanes = coupling.lanes[group.id].count if group.id in coupling.lanes else 0
        kept, *others = (
            tuple(sorted(random.choice(group.units, size=count, replace=False).tolist()))
            for _ in range(max(lanes, 1))
        )
        cuts.append(Cut(group=group.id, units=group.units, kept=kept, lanes=(kept, *others) if lanes else ()))
    return tuple(cuts)


def counted_macs(program: Program) -> int:
    """As torch counts; where it leaves something out, as a stranger who captures the program anew counts.

    Fused attention on a CPU, recurrent layers, and sums over one index in an einsum are left out.
    """
    operators = " ".join(str(node.target) for node in program.graph.nodes)
    if any(name in operators for name in ("scaled_dot", "einsum", "aten.gru", "aten.lstm")):
        return count(couple(Program(program.exported().module(check_guards=False), program.inputs))).macs
    with FlopCounterMode(display=False) as counter:
        program.answers(program.examples(1))
    return int(counter.get_total_flops()) // 2


def require_exact_and_as_predicted(coupling: Coupling, cuts: Sequence[Cut]) -> None:
    proven = prove(coupling, cuts)

    assert proven.refused == {}
    assert proven.relative_error <= TOLERANCE
    shapes = [tuple(one.shape) for one in proven.program.answers(proven.program.examples(3))]
    assert (3, 4) in shapes
    assert sorted(shapes) == sorted(
        tuple(one.shape) for one in coupling.program.answers(coupling.program.examples(3))
    )
    predicted = count(coupling, coupling.narrowed(cuts))
    parameters = {id(one): one.numel() for one in proven.program.module.parameters()}
    assert predicted.parameters == sum(parameters.values())
    assert predicted.macs == counted_macs(proven.program)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(network=networks(), seed=st.integers(0, 10_000))
def test_any_cut_of_any_network_is_exact_and_costs_what_was_predicted(network: nn.Module, seed: int) -> None:
    coupling = couple(capture(network, (3, SIZE, SIZE)))
    require_exact_and_as_predicted(coupling, any_cuts(coupling, seed))

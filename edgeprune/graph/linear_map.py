"""Linear maps: a layer as rows times columns, one product for each block of channels.

Blocks are the groups of a convolution, or the phases of a transposed one: their weights have nothing to
do with each other, so second moments and least squares are those of small matrices, batched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.nodes import argument, operator_name, shape_of

CONVOLUTIONS = {f"aten.conv{axes}d.{kind}" for axes in (1, 2, 3) for kind in ("default", "padding")}
_TRANSPOSED = {"aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input"}
_LINEAR = "aten.linear.default"
LAYERS = CONVOLUTIONS | _TRANSPOSED | {_LINEAR}


class LinearMap(Protocol):
    """How a layer's values are seen as matrices; the layer's constants play no part."""

    @property
    def channel_axis(self) -> int:
        """Where the channels of what it reads and answers are."""

    @property
    def taps(self) -> int:
        """How many columns each input channel has, side by side."""

    def size_from(self, source: Tensor) -> tuple[int, ...]:
        """The output's size without batch and channels, given what the layer reads."""

    def size_of(self, value: Tensor) -> tuple[int, ...]:
        """The same of a value of the output's shape."""

    def sites(self, size: Sequence[int]) -> int:
        """How many places there are in an output of a size at which rows can be taken."""

    def rows(self, source: Tensor, chosen: Tensor | None = None) -> Tensor:
        """What the layer reads at the `chosen` sites (all without), (blocks, batch * sites, columns)."""

    def outputs(self, value: Tensor, chosen: Tensor | None = None) -> Tensor:
        """A value of the output's shape, as (blocks, batch * sites, channels), to match `rows`."""

    def columns(self, weight: Tensor) -> Tensor:
        """The weight as (blocks, columns, channels): outputs = rows @ columns."""

    def weight(self, columns: Tensor, like: Tensor) -> Tensor:
        """Columns back in the shape of the weight."""

    def per_block(self, values: Tensor) -> Tensor:
        """One number per output channel as (blocks, channels)."""

    def joined(self, values: Tensor) -> Tensor:
        """Numbers of shape (blocks, channels) as one per output channel, averaged where blocks share it."""


def linear_map(node: Node, weight: Tensor) -> LinearMap | None:
    """How a layer with this weight is seen as matrices; None where no way is known."""
    operator, axes = operator_name(node), weight.ndim - 2
    if operator == _LINEAR:
        return Tokens()
    if operator in CONVOLUTIONS:
        return _windows(node, weight, axes)
    if operator in _TRANSPOSED and argument(node, 6, 1, "groups") == 1:
        if set(_sizes(argument(node, 7, 1, "dilation"), axes)) != {1}:
            return None
        stride, padding, extra = (
            _sizes(argument(node, place, default, name), axes)
            for place, default, name in ((3, 1, "stride"), (4, 0, "padding"), (5, 0, "output_padding"))
        )
        return Phases(tuple(weight.shape[2:]), stride, padding, extra)
    return None


def channel_by_channel(node: Node, channels: int) -> LinearMap:
    """A value seen as it is: what a bias or a batch norm shifts."""
    axes = len(shape_of(node)) - 2
    if axes == 0 or operator_name(node) == _LINEAR:
        return Tokens()
    ones = (1,) * axes
    return Windows(ones, ones, ones, ((0, 0),) * axes, channels)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A linear layer: its rows are the vectors it reads."""

    channel_axis: int = -1
    taps: int = 1

    def size_from(self, source: Tensor) -> tuple[int, ...]:
        """All axes but the first and the last."""
        return tuple(source.shape[1:-1])

    size_of = size_from

    def sites(self, size: Sequence[int]) -> int:
        """Vectors per image."""
        return math.prod(size)

    def rows(self, source: Tensor, chosen: Tensor | None = None) -> Tensor:
        """The vectors, as one block."""
        tokens = source.reshape(len(source), -1, source.shape[-1])
        return (tokens if chosen is None else tokens[:, chosen]).flatten(0, 1)[None]

    outputs = rows

    def columns(self, weight: Tensor) -> Tensor:
        """The transposed weight, as one block."""
        return weight.T[None]

    def weight(self, columns: Tensor, like: Tensor) -> Tensor:
        """The transposed columns."""
        return columns[0].T.reshape(like.shape)

    def per_block(self, values: Tensor) -> Tensor:
        """All channels are in one block."""
        return values[None]

    def joined(self, values: Tensor) -> Tensor:
        """All channels are in one block."""
        return values[0]


@dataclass(frozen=True, slots=True)
class Windows:
    """A convolution: its rows are what the kernel sees, channel-major as in the flattened weight."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    """Zeros before and after, along each axis."""
    groups: int
    channel_axis: int = 1

    @property
    def taps(self) -> int:
        """Entries of the kernel."""
        return math.prod(self.kernel)

    def size_from(self, source: Tensor) -> tuple[int, ...]:
        """Positions of the kernel along each axis."""
        extents = zip(source.shape[2:], self.padding, strict=True)
        steps = zip(self.kernel, self.stride, self.dilation, strict=True)
        return tuple(
            (extent + sum(around) - dilation * (kernel - 1) - 1) // stride + 1
            for (extent, around), (kernel, stride, dilation) in zip(extents, steps, strict=True)
        )

    def size_of(self, value: Tensor) -> tuple[int, ...]:
        """All axes behind the channels."""
        return tuple(value.shape[2:])

    def sites(self, size: Sequence[int]) -> int:
        """Positions of the kernel."""
        return math.prod(size)

    def rows(self, source: Tensor, chosen: Tensor | None = None) -> Tensor:
        """What the kernel sees of each group's channels; only the chosen positions are copied."""
        ends = [end for around in reversed(self.padding) for end in around]
        padded = F.pad(source, ends)
        if chosen is None:
            chosen = torch.arange(self.sites(self.size_from(source)))
        index = self._entries(padded.shape[1:], self.size_from(source), chosen)
        # One list of places for all images: ten times as fast as windows that are indexed at their positions.
        picked = padded.flatten(1).index_select(1, index.flatten())
        return picked.reshape(len(source), *index.shape).transpose(0, 1).flatten(1, 2)

    def _entries(self, shape: Sequence[int], size: Sequence[int], chosen: Tensor) -> Tensor:
        """Where one padded image has what the kernel sees, shape (groups, positions, columns)."""
        starts = torch.unravel_index(chosen, tuple(size))
        corner = _raveled([at * by for at, by in zip(starts, self.stride, strict=True)], shape[1:])
        taps = torch.meshgrid(
            *(torch.arange(extent) * by for extent, by in zip(self.kernel, self.dilation, strict=True)),
            indexing="ij",
        )
        channels = torch.arange(shape[0]).reshape(self.groups, 1, -1, 1) * math.prod(shape[1:])
        places = corner[:, None, None] + _raveled([tap.flatten() for tap in taps], shape[1:])
        return (channels + places).flatten(2).int()

    def outputs(self, value: Tensor, chosen: Tensor | None = None) -> Tensor:
        """The channels of each group at the positions."""
        places = value.flatten(2)
        if chosen is not None:
            places = places[:, :, chosen]
        blocks = places.reshape(len(value), self.groups, -1, places.shape[2])
        return blocks.permute(1, 0, 3, 2).flatten(1, 2)

    def columns(self, weight: Tensor) -> Tensor:
        """The flattened weight of each group, transposed."""
        return weight.reshape(self.groups, -1, math.prod(weight.shape[1:])).mT

    def weight(self, columns: Tensor, like: Tensor) -> Tensor:
        """The flattened weights of all groups below each other."""
        return columns.mT.reshape(like.shape)

    def per_block(self, values: Tensor) -> Tensor:
        """Output channels lie group by group."""
        return values.reshape(self.groups, -1)

    def joined(self, values: Tensor) -> Tensor:
        """Output channels lie group by group."""
        return values.flatten()


@dataclass(frozen=True, slots=True)
class Phases:
    """A transposed convolution: a convolution of stride one for each phase of the output's grid.

    The output at `stride * q + phase - padding` sees, through the taps `phase, phase + stride, ...` of the
    kernel, the inputs `q, q - 1, ...`. Each tap belongs to one phase, so the phases are fitted by
    themselves; taps that a phase has not are columns of zeros.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    extra: tuple[int, ...]
    """What output padding adds at the end of each axis."""
    channel_axis: int = 1

    @property
    def taps(self) -> int:
        """Entries of the kernel that the phase with most of them has."""
        return math.prod(self._taps)

    def size_from(self, source: Tensor) -> tuple[int, ...]:
        """As far as the kernel reaches, without the padding."""
        steps = zip(source.shape[2:], self.kernel, self.stride, self.padding, self.extra, strict=True)
        return tuple((extent - 1) * s - 2 * pad + k + extra for extent, k, s, pad, extra in steps)

    def size_of(self, value: Tensor) -> tuple[int, ...]:
        """All axes behind the channels."""
        return tuple(value.shape[2:])

    def sites(self, size: Sequence[int]) -> int:
        """Places at which the output has every phase."""
        return math.prod(len(range_) for range_ in self._grid(size))

    def rows(self, source: Tensor, chosen: Tensor | None = None) -> Tensor:
        """What each phase sees at the places, the taps of one channel side by side."""
        grid = self._grid(self.size_from(source))
        taps = self._taps
        around = tuple((taps[a] - 1, max(0, grid[a].stop - source.shape[2 + a])) for a in range(len(taps)))
        plain = Windows(taps, (1,) * len(taps), (1,) * len(taps), around, 1)
        size = plain.size_from(source)
        places = self._places(grid, chosen)
        rows = plain.rows(source, _raveled(places, size))[0]
        # A window runs upwards, the taps of a phase run down from the place itself.
        rows = rows.reshape(len(rows), -1, *taps).flip(tuple(range(2, 2 + len(taps))))
        exists = self._exists().to(rows.dtype)
        return (rows[None] * exists[:, None, None]).flatten(2)

    def outputs(self, value: Tensor, chosen: Tensor | None = None) -> Tensor:
        """The values of each phase at the places."""
        size = self.size_of(value)
        places = self._places(self._grid(size), chosen)
        flat = value.flatten(2)
        found = []
        for phase in self._phases():
            at = [
                place * s + r - pad
                for place, s, r, pad in zip(places, self.stride, phase, self.padding, strict=True)
            ]
            found.append(flat[:, :, _raveled(at, size)].transpose(1, 2).flatten(0, 1))
        return torch.stack(found)

    def columns(self, weight: Tensor) -> Tensor:
        """The taps of each phase, zeros where there are none."""
        axes = range(len(self.kernel))
        short = [self._taps[a] * self.stride[a] - self.kernel[a] for a in axes]
        padded = F.pad(weight, [end for a in reversed(axes) for end in (0, short[a])])
        parts = []
        for phase in self._phases():
            chosen = (slice(phase[a], None, self.stride[a]) for a in axes)
            part = padded[(slice(None), slice(None), *chosen)]
            parts.append(part.transpose(0, 1).flatten(1).T)
        return torch.stack(parts)

    def weight(self, columns: Tensor, like: Tensor) -> Tensor:
        """Every tap back in its place."""
        axes = range(len(self.kernel))
        full = [self._taps[a] * self.stride[a] for a in axes]
        whole = columns.new_zeros(*like.shape[:2], *full)
        for phase, part in zip(self._phases(), columns, strict=True):
            taps = part.T.reshape(like.shape[1], like.shape[0], *self._taps).transpose(0, 1)
            whole[(slice(None), slice(None), *(slice(phase[a], None, self.stride[a]) for a in axes))] = taps
        return whole[(slice(None), slice(None), *(slice(k) for k in self.kernel))]

    def per_block(self, values: Tensor) -> Tensor:
        """Every phase has all channels."""
        return values.expand(math.prod(self.stride), -1)

    def joined(self, values: Tensor) -> Tensor:
        """The phases of a channel share its constants."""
        return values.mean(0)

    @property
    def _taps(self) -> tuple[int, ...]:
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True))

    def _phases(self) -> list[tuple[int, ...]]:
        return [tuple(one) for one in torch.cartesian_prod(*map(torch.arange, self.stride)).reshape(
            -1, len(self.stride)
        ).tolist()]  # fmt: skip

    def _exists(self) -> Tensor:
        """Whether a phase has a tap, shape (phases, *taps)."""
        found = torch.ones(1, *self._taps, dtype=torch.bool).repeat(
            math.prod(self.stride), *[1] * len(self._taps)
        )
        for number, phase in enumerate(self._phases()):
            for axis, (start, s, k) in enumerate(zip(phase, self.stride, self.kernel, strict=True)):
                count = max(0, -(-(k - start) // s))
                found[number].narrow(axis, count, self._taps[axis] - count).fill_(False)
        return found

    def _grid(self, size: Sequence[int]) -> list[range]:
        """The places q along each axis at which the output has every phase."""
        return [
            range(-(-pad // s), (extent + pad) // s)
            for extent, s, pad in zip(size, self.stride, self.padding, strict=True)
        ]

    def _places(self, grid: Sequence[range], chosen: Tensor | None) -> list[Tensor]:
        extents = [len(one) for one in grid]
        if chosen is None:
            chosen = torch.arange(math.prod(extents))
        found = torch.unravel_index(chosen, extents)
        return [place + one.start for place, one in zip(found, grid, strict=True)]


def _windows(node: Node, weight: Tensor, axes: int) -> Windows:
    kernel = tuple(weight.shape[2:])
    stride, dilation = (
        _sizes(argument(node, place, 1, name), axes) for place, name in ((3, "stride"), (5, "dilation"))
    )
    groups = argument(node, 6, 1, "groups")
    assert isinstance(groups, int)
    given = argument(node, 4, 0, "padding")
    if given == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple((one // 2, one - one // 2) for one in total)
    else:
        padding = tuple((one, one) for one in _sizes(0 if given == "valid" else given, axes))
    return Windows(kernel, stride, dilation, padding, groups)


def _raveled(places: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    flat = torch.zeros_like(places[0])
    for place, extent in zip(places, size, strict=True):
        flat = flat * extent + place
    return flat


def _sizes(value: object, axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    assert isinstance(value, (list, tuple))
    return tuple(int(one) for one in (value if len(value) == axes else [value[0]] * axes))

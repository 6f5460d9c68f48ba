"""Lanes: the groups of a grouped convolution, each of which may lose other channels than its neighbours.

A unit of such channels holds one place of every lane. Which places stand in one unit is free as long as every
lane loses as many: within a lane channels may change places, if all that carries them follows. `arranged`
(`graph/arrange.py`) does that to the weights of a program, which computes the same afterwards; cutting it as
ever then is a cut with places of its own in every lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.group import Group, Slice
from edgeprune.core.plan import Cut
from edgeprune.graph.flow import Flow, Product

Indices = NDArray[np.int64]
Order = NDArray[np.int64]
"""Row l, column u: the unit whose channels of lane l come to stand in unit u."""
_SHARED, _OTHER = -1, -2


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """Where the lanes of one group of channels lie."""

    count: int
    columns: tuple[Indices, ...]
    """For every slice of the group the lane of each column; -1 for those that all lanes read."""
    blocks: tuple[Indices, ...]
    """For every slice the lane of each of as many equal blocks of axis 0, where all lanes read a column."""


@dataclass(slots=True, eq=False)
class Moves:
    """What an arrangement does to one tensor: position i of an axis is taken from `axes[axis][i]`."""

    axes: dict[int, Indices] = field(default_factory=dict)
    blocks: Indices | None = None
    """As for axis 1, with a row for each of several equal blocks of axis 0."""

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor with its indices moved."""
        if self.blocks is not None:
            rows = torch.arange(len(tensor))[:, None]
            columns = torch.from_numpy(np.repeat(self.blocks, len(tensor) // len(self.blocks), axis=0))
            tensor = tensor[rows, columns]
        for axis, positions in self.axes.items():
            tensor = tensor.index_select(axis, torch.from_numpy(positions))
        return tensor


def orders_of(cuts: Iterable[Cut]) -> dict[str, Order]:
    """The arrangements in which cuts that differ from lane to lane are cuts of the same places."""
    return {
        cut.group: np.asarray([_order(cut, lane) for lane in cut.lanes])
        for cut in cuts
        if cut.lanes and cut.removed
    }


def _order(cut: Cut, kept: Sequence[int]) -> Indices:
    order = np.empty(cut.units, dtype=np.int64)
    order[list(cut.kept)] = kept
    order[list(cut.removed)] = np.setdiff1d(np.arange(cut.units), kept)
    return order


def named(cut: Cut, order: Order | None) -> Cut:
    """A cut of an arranged program, whose first lane is as it was, in terms of the program as it was."""
    if order is None:
        return cut
    lanes = tuple(tuple(int(row[unit]) for unit in cut.kept) for row in order)
    differs = any(lane != lanes[0] for lane in lanes)
    return Cut(group=cut.group, units=cut.units, kept=lanes[0], lanes=lanes if differs else ())


def moves(
    groups: Iterable[Group],
    lanes: Mapping[str, Lanes],
    orders: Mapping[str, Order],
    sizes: Mapping[str, tuple[int, ...]],
) -> dict[str, Moves]:
    """What arrangements do to every tensor they touch, by name; `sizes` are the shapes."""
    found: dict[str, Moves] = {}
    for group in groups:
        if group.id not in orders:
            continue
        own, order = lanes[group.id], orders[group.id]
        for piece, columns, blocks in zip(group.slices, own.columns, own.blocks, strict=True):
            one, size = found.setdefault(piece.tensor, Moves()), sizes[piece.tensor][piece.axis]
            positions = one.axes.setdefault(piece.axis, np.arange(size))
            for column in np.flatnonzero(columns != _SHARED):
                positions[piece.indices[:, column]] = piece.indices[order[columns[column]], column]
            shared = piece.indices[:, columns == _SHARED]
            if shared.size:
                # Another group may have moved other columns of the same weight.
                if one.blocks is None:
                    one.blocks = np.tile(np.arange(size), (len(blocks), 1))
                for block, lane in enumerate(blocks.tolist()):
                    one.blocks[block, shared] = shared[order[lane]]
    return found


def strengths(
    group: Group, lanes: Lanes, tensors: Mapping[str, Tensor], gains: frozenset[str]
) -> NDArray[np.float64]:
    """How much each lane's channel of each unit can say, shape (lanes, units).

    The norm of the weights that make it (its batch-norm gain, where it has one) times that of those that
    read it.
    """
    attached = [piece.tensor in gains for piece in group.slices]
    made = ["attached"] if any(attached) else ["producer"]
    result = np.ones((lanes.count, group.units))
    for roles in (made, ["consumer"]):
        squares = np.zeros_like(result)
        for piece, columns, blocks, is_gain in zip(
            group.slices, lanes.columns, lanes.blocks, attached, strict=True
        ):
            if piece.role in roles and (piece.role != "attached" or is_gain):
                squares += _squares(piece, columns, blocks, lanes.count, tensors[piece.tensor])
        if squares.any():
            result *= np.sqrt(squares)
    return result


def _squares(
    piece: Slice, columns: Indices, blocks: Indices, count: int, tensor: Tensor
) -> NDArray[np.float64]:
    """Sums of squares, shape (lanes, units)."""
    squares = tensor.detach().double().square().numpy()
    result = np.zeros((count, len(piece.indices)))
    per_index = np.moveaxis(squares, piece.axis, 0).reshape(squares.shape[piece.axis], -1).sum(1)
    for column in np.flatnonzero(columns != _SHARED):
        result[columns[column]] += per_index[piece.indices[:, column]]
    shared = piece.indices[:, columns == _SHARED]
    if shared.size:
        per_block = squares.reshape(len(blocks), -1, *squares.shape[1:])
        for block, lane in enumerate(blocks.tolist()):
            per_index = np.moveaxis(per_block[block], 1, 0).reshape(squares.shape[1], -1).sum(1)
            result[lane] += per_index[shared].sum(1)
    return result


def paired(strength: NDArray[np.float64]) -> Order:
    """The order that puts channels of one rank into one unit; the first lane stays as it is."""
    ascending = np.argsort(strength, axis=1, kind="stable")
    order = np.empty_like(ascending)
    order[:, ascending[0]] = ascending
    return order


def find_lanes(
    flow: Flow, class_of: Indices, groups: Sequence[Group], unit_classes: Mapping[str, Indices]
) -> dict[str, Lanes]:
    """The groups of channels that may be cut differently in each group of their convolutions."""
    if not any(product.lanes for product in flow.products):
        return {}
    finder = _Finder(flow, class_of)
    candidates = [
        group for group in groups if group.kind == "channels" and group.locked is None and group.units > 1
    ]
    found = {group.id: finder.lanes(group, unit_classes[group.id]) for group in candidates}
    return {name: lanes for name, lanes in found.items() if lanes is not None}


class _Finder:
    """Looks for lanes: classes that differ in nothing but their place within a group of a convolution."""

    def __init__(self, flow: Flow, class_of: Indices) -> None:
        self._flow, self._class_of = flow, class_of
        self._signatures = _signatures(flow, class_of)
        self._tied: set[int] = set()
        self._wholes: dict[int, set[int]] = {}
        """The groups of convolutions that a channel lies in."""
        self._places: set[int] = set()
        self._weights: dict[str, list[list[int]]] = {}
        """For a weight whose axis 1 all groups share: the group each block of its axis 0 belongs to."""
        for product in flow.products:
            self._note(product)

    def _note(self, product: Product) -> None:
        flat, factors = self._class_of[product.flat], [self._class_of[one] for one in product.factors]
        if not product.lanes:
            self._tied.update(flat.ravel().tolist(), *(one.tolist() for one in factors))
            return
        whole, place = factors
        for row, group in zip(flat.tolist(), whole.tolist(), strict=True):
            for one in row:
                self._wholes.setdefault(one, set()).add(group)
        self._places.update(place.tolist())
        for name, axes in self._flow.tensors.items():
            if len(axes) > 1 and axes[1] is product.factors[1]:
                self._weights.setdefault(name, []).append(whole.tolist())

    def lanes(self, group: Group, unit_classes: Indices) -> Lanes | None:
        """The lanes of one group; None where its channels are told apart by more than their lane."""
        units = [sorted(set(row)) for row in unit_classes.tolist()]
        classes = {one for unit in units for one in unit}
        cells = {one for one in classes if one in self._wholes}
        if not cells or classes & self._tied or not classes - cells <= self._places:
            return None
        number = _numbered([self._wholes[one] for one in sorted(cells)])
        lane_of = np.full(int(self._class_of.max()) + 1, _OTHER)
        lane_of[list(classes - cells)] = _SHARED
        for one in cells:
            lane_of[one] = number[next(iter(self._wholes[one]))]
        count = len(set(number.values()))
        if count < 2 or len({self._signature(unit, lane_of) for unit in units}) > 1:
            return None
        columns, blocks = [], []
        for piece in group.slices:
            labels = self._flow.tensors[piece.tensor][piece.axis]
            assert labels is not None
            lanes = lane_of[self._class_of[labels[piece.indices]]]
            if (lanes != lanes[0]).any():
                return None
            columns.append(lanes[0])
            read_by = self._blocks(piece, number) if _SHARED in lanes[0] else np.empty(0, np.int64)
            if read_by is None:
                return None
            blocks.append(read_by)
        return Lanes(count, tuple(columns), tuple(blocks))

    def _blocks(self, piece: Slice, number: Mapping[int, int]) -> Indices | None:
        """The lane that each block of a weight's axis 0 belongs to, where its axis 1 is shared."""
        uses = [[number.get(whole) for whole in use] for use in self._weights.get(piece.tensor, [])]
        if piece.axis != 1 or not uses or None in uses[0] or any(use != uses[0] for use in uses):
            return None
        return np.asarray(uses[0], dtype=np.int64)

    def _signature(self, unit: Sequence[int], lane_of: Indices) -> tuple[tuple[int, int], ...]:
        """Where a unit's channels are found, lane by lane."""
        return tuple(sorted((int(lane_of[one]), int(self._signatures[one])) for one in unit))


def _numbered(sets: Iterable[set[int]]) -> dict[int, int]:
    """A number for every member; those of overlapping sets have the same, ascending by the least of them."""
    parent: dict[int, int] = {}

    def root(one: int) -> int:
        while parent.setdefault(one, one) != one:
            one = parent[one]
        return one

    for members in sets:
        first, *others = sorted(root(one) for one in members)
        for other in others:
            parent[other] = first
    roots = {one: root(one) for one in list(parent)}
    rank = {one: place for place, one in enumerate(sorted(set(roots.values())))}
    return {one: rank[found] for one, found in roots.items()}


def _signatures(flow: Flow, class_of: Indices) -> NDArray[np.uint64]:
    """One number per class for where in the network its indices are, as a sum over them."""
    random = np.random.default_rng(0)
    axes = list(_labelled(flow))
    sums = np.zeros(int(class_of.max(initial=-1)) + 1, dtype=np.uint64)
    for labels, weight in zip(axes, random.integers(0, 2**63, len(axes), dtype=np.uint64), strict=True):
        np.add.at(sums, class_of[labels], weight)
    return sums


def _labelled(flow: Flow) -> Iterator[Indices]:
    for axes in flow.axes.values():
        for part in axes if isinstance(axes, list) else [axes]:
            yield from (labels for labels in part if labels is not None)

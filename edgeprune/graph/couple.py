"""Coupling: walk the graph once with the rules, then join labels into units and units into groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.fx import Node

from edgeprune.core.errors import DocumentError
from edgeprune.core.group import Group, Kind, Reason, Slice, known_inexact
from edgeprune.core.plan import Cut
from edgeprune.graph.blocks import Block, find_blocks
from edgeprune.graph.capture import Program
from edgeprune.graph.closure import Closures
from edgeprune.graph.flow import Axes, Consumption, Flow, Labels, Narrowed, Reading, unlabelled
from edgeprune.graph.lanes import Lanes, find_lanes
from edgeprune.graph.nodes import attribute, operator_name, shape_of, tensor_shape
from edgeprune.graph.rules import RULES

Value = TypeVar("Value")

BLOCKS = "blocks"
"""The group whose units are whole residual branches."""


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """What must be cut together in one program.

    A *class* is a set of labels that stay or go together; `class_of[label]` is its number. Row u of
    `unit_classes[group]` holds the classes that go with unit u (shorter ones repeat their last).
    """

    program: Program
    groups: tuple[Group, ...]
    axes: Mapping[str, Axes | list[Axes]]
    tensors: Mapping[str, Axes]
    consumptions: tuple[Consumption, ...]
    readings: tuple[Reading, ...]
    silenced: frozenset[tuple[str, int]]
    notes: Mapping[str, Labels]
    class_of: NDArray[np.int64]
    unit_classes: Mapping[str, NDArray[np.int64]]
    blocks: Mapping[int, Block]
    """Residual branches by the label that says whether they stay."""
    lanes: Mapping[str, Lanes]
    """Groups of channels that may be cut differently in each group of a convolution, see `graph/lanes.py`."""
    enclosing: Mapping[str, Labels]
    """For nodes inside removable branches the labels of those branches: the node runs while all stay."""

    def narrowed(self, cuts: Iterable[Cut]) -> Narrowed:
        """The sizes that remain after some cuts; errors as of `kept`."""
        return Narrowed(self.axes, self.notes, self.kept(cuts)[self.class_of])

    def kept(self, cuts: Iterable[Cut]) -> NDArray[np.bool_]:
        """For every class whether it stays after some cuts.

        Raises
        ------
        DocumentError
            A cut names an unknown or locked group, or another number of units.
        """
        kept = np.ones(int(self.class_of.max(initial=-1)) + 1, dtype=bool)
        groups = {group.id: group for group in self.groups}
        for cut in cuts:
            group = groups.get(cut.group)
            if group is None or group.units != cut.units:
                have = f"{group.units} units" if group else "no such group"
                raise DocumentError(
                    f"plan: group '{cut.group}' has {cut.units} units there, {have} in this network",
                    hint="the plan belongs to another network; make a new one",
                )
            if group.locked:
                raise DocumentError(f"plan: group '{cut.group}' is locked: {group.locked}")
            lanes = self.lanes[cut.group].count if cut.group in self.lanes else 1
            if len(cut.lanes) not in {0, lanes}:
                raise DocumentError(
                    f"plan: group '{cut.group}' keeps channels of its own in {len(cut.lanes)} lanes, it has "
                    f"{lanes} in this network",
                    hint="without 'lanes' the same units are kept everywhere",
                )
            kept[self.unit_classes[cut.group][list(cut.removed)]] = False
        return kept

    def runs(self, node: Node, narrowed: Narrowed) -> bool:
        """Whether a node is still there after a cut: not, when a branch around it goes."""
        around = self.enclosing.get(node.name)
        return around is None or bool(narrowed.kept[around].all())

    def free(self, *kinds: Kind) -> list[Group]:
        """The groups that may be cut, of some kinds (all without)."""
        return [
            group
            for group in self.groups
            if group.locked is None and group.units > 1 and (not kinds or group.kind in kinds)
        ]


def couple(program: Program, allow: Iterable[str] = ()) -> Coupling:
    """Find every group of a program, in time linear in nodes and labels.

    Parameters
    ----------
    allow : of str
        Entries of `INEXACT`: operators under which groups are freed although a cut changes their statistics.

    Raises
    ------
    RequestError
        `allow` names something else.
    """
    flow = Flow(program, frozenset(known_inexact(allow)))
    _walk(flow)
    blocks = {int(flow.fresh(1)[0]): block for block in find_blocks(program)}
    class_of = _join_labels(flow)
    groups, unit_classes = _Grouping(flow, class_of).groups()
    if len(blocks) > 1:
        names = tuple(block.name for block in blocks.values())
        groups.append(Group(BLOCKS, len(blocks), (), kind="blocks", names=names))
        unit_classes[BLOCKS] = class_of[np.asarray(list(blocks))][:, None]
    return Coupling(
        program=program,
        groups=tuple(groups),
        axes={node.name: axes for node, axes in flow.axes.items()},
        tensors=flow.tensors,
        consumptions=tuple(flow.consumptions),
        readings=tuple(flow.readings),
        silenced=frozenset(flow.silenced),
        notes={node.name: labels for node, labels in flow.notes.items()},
        class_of=class_of,
        unit_classes=unit_classes,
        blocks=blocks,
        lanes=find_lanes(flow, class_of, groups, unit_classes),
        enclosing=_enclosing(blocks),
    )


def _walk(flow: Flow) -> None:
    seen: dict[int, Axes] = {}
    for node in flow.program.graph.nodes:
        flow.axes[node] = _label(flow, node, seen)


def _label(flow: Flow, node: Node, seen: dict[int, Axes]) -> Axes | list[Axes]:
    if node.op == "placeholder":
        return _input_axes(flow, node)
    if node.op == "get_attr":
        tensor = attribute(flow.program.module, str(node.target))
        # Tied parameters are one tensor under several names: one set of labels.
        axes = seen.setdefault(id(tensor), tuple(flow.fresh(size) for size in tensor.shape))
        flow.tensors[str(node.target)] = axes
        return axes
    if node.op == "output":
        flow.lock_all(node, node.all_input_nodes, "the network's output")
        return ()
    rule = RULES.get(operator_name(node))
    if rule is not None:
        return rule.label(flow, node)
    flow.lock_all(
        node,
        node.all_input_nodes,
        "read by an operator without a rule",
        "edgeprune does not know how channels pass through it",
    )
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        return [(None,) * len(tensor_shape(part)) for part in value if hasattr(part, "shape")]
    return unlabelled(node)


def _input_axes(flow: Flow, node: Node) -> Axes:
    """The channel axis of an input is labelled only to give its lock the right reason."""
    shape = shape_of(node)
    channel_axes = {1, 2} if len(shape) == 3 else {1}
    axes = tuple(
        flow.fresh(size) if axis in channel_axes and size is not None else None
        for axis, size in enumerate(shape)
    )
    for labels in axes:
        flow.lock(node, labels, "the network's input")
    return axes


def _join_labels(flow: Flow) -> NDArray[np.int64]:
    """Connected components over all equalities at once."""
    rows = np.concatenate([np.empty(0, np.int64), *(first.ravel() for first, _ in flow.equal)])
    columns = np.concatenate([np.empty(0, np.int64), *(second.ravel() for _, second in flow.equal)])
    links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(flow.count, flow.count))
    _, class_of = connected_components(links, directed=False)
    return np.asarray(class_of, dtype=np.int64)


def _enclosing(blocks: Mapping[int, Block]) -> dict[str, Labels]:
    around: dict[str, list[int]] = {}
    for label, block in blocks.items():
        for node in block.members:
            around.setdefault(node.name, []).append(label)
    return {name: np.asarray(labels, dtype=np.int64) for name, labels in around.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """Units that live in the same slices for the same reason: row u of `classes` and `entries` is unit u."""

    classes: NDArray[np.int64]
    entries: NDArray[np.int64]
    kind: Kind
    reason: Reason | None
    inexact: tuple[str, ...]
    divided: bool
    """Whether the units come from an axis that is split or merged, and so could also be cut another way."""


class _Grouping:
    """From classes to units, and from units that live in the same slices to groups.

    An *entry* is one index of one axis of one parameter; all of them are numbered through, place by place.
    """

    def __init__(self, flow: Flow, class_of: NDArray[np.int64]) -> None:
        self._flow = flow
        self._class_of = class_of
        self._places = [(tensor, axis) for tensor, axes in flow.tensors.items() for axis in range(len(axes))]
        labels = [labels for axes in flow.tensors.values() for labels in axes if labels is not None]
        assert len(labels) == len(self._places), "every axis of a parameter has labels"
        self._offsets = np.cumsum([0, *(len(one) for one in labels)])
        owner = class_of[np.concatenate(labels)] if labels else np.empty(0, np.int64)
        self._by_class = np.argsort(owner, kind="stable")
        self._starts = np.searchsorted(owner[self._by_class], np.arange(int(class_of.max(initial=-1)) + 2))
        self._closures = Closures(flow.products, class_of, self._first(flow.locks))
        self._reasons = self._closures.reasons
        self._kinds = self._first(flow.kinds)
        self._inexact: dict[int, set[str]] = {}
        for allowed, name in flow.inexact:
            for number in np.unique(class_of[allowed]).tolist():
                self._inexact.setdefault(number, set()).add(name)

    def groups(self) -> tuple[list[Group], dict[str, NDArray[np.int64]]]:
        """All groups in the order of their first parameter, and the classes of their units."""
        produced = [self._flow.roles.get(place) == "producer" for place in self._places]
        is_produced = np.repeat(np.asarray(produced, dtype=bool), np.diff(self._offsets))
        found = [
            units
            for units in (*self._plain_units(), *self._divided_units())
            if is_produced[units.entries[0]].any()
        ]
        free = np.zeros(len(is_produced), dtype=bool)
        for units in found:
            if units.reason is None:
                free[units.entries] = True
        groups, unit_classes, names = [], {}, Counter[str]()
        for units in sorted(found, key=lambda units: int(units.entries[0, 0])):
            own = units.entries[is_produced[units.entries]]
            if units.divided and units.reason and not units.reason.inexact and free[own].all():
                # Locked one way and free another: no news.
                continue
            name = self._place_of(own[0])[0].removesuffix(".weight")
            name = name if units.kind == "channels" else f"{name}/{units.kind}"
            names[name] += 1
            unique = name if names[name] == 1 else f"{name}#{names[name]}"
            groups.append(self._group(unique, units))
            unit_classes[unique] = units.classes
        return groups, unit_classes

    def _place_of(self, entry: int) -> tuple[str, int]:
        return self._places[int(np.searchsorted(self._offsets, entry, side="right")) - 1]

    def _group(self, name: str, units: _Units) -> Group:
        """Every unit has the same places equally often, so its first row says where columns belong."""
        places = np.searchsorted(self._offsets, units.entries[0], side="right") - 1
        bounds = np.flatnonzero(np.diff(places)) + 1
        slices = []
        for columns in np.split(np.arange(len(places)), bounds):
            number = int(places[columns[0]])
            tensor, axis = self._places[number]
            indices = units.entries[:, columns] - self._offsets[number]
            role = self._flow.roles.get((tensor, axis), "attached")
            slices.append(Slice(tensor=tensor, axis=axis, role=role, indices=indices))
        return Group(name, len(units.entries), tuple(slices), units.reason, units.kind, units.inexact)

    def _plain_units(self) -> list[_Units]:
        """One class, one unit: grouped all at once by a hash of where the classes live."""
        counts = np.diff(self._starts)
        hashes = self._hashes(counts)
        divided = np.zeros(len(counts), dtype=bool)
        divided[list(self._closures.members)] = True
        plain = np.flatnonzero((counts > 0) & ~divided)
        first = self._by_class[self._starts[plain]]
        members: dict[object, list[int]] = {}
        for number, key in zip(
            plain[np.argsort(first)].tolist(), hashes[plain[np.argsort(first)]].tolist(), strict=True
        ):
            inexact = tuple(sorted(self._inexact.get(number, ())))
            signature = (key, self._reasons.get(number), self._kinds.get(number, "channels"), inexact)
            members.setdefault(signature, []).append(number)
        return [self._units_of([(number,) for number in numbers]) for numbers in members.values()]

    def _hashes(self, counts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """One number per class for the places its entries are in, as a sum over the entries."""
        random = np.random.default_rng(0).integers(0, 2**63, len(self._places), dtype=np.uint64)
        per_entry = np.repeat(random, np.diff(self._offsets))[self._by_class]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(per_entry, dtype=np.uint64)])
        hashes: NDArray[np.uint64] = sums[self._starts[1:]] - sums[self._starts[:-1]]
        return hashes

    def _divided_units(self) -> list[_Units]:
        """The sets of classes that are closed under splits and merges."""
        members: dict[object, list[tuple[int, tuple[int, ...]]]] = {}
        for unit, family in self._closures.units().items():
            classes = tuple(sorted(unit))
            entries = self._entries(classes)
            if not len(entries):
                continue
            places = np.searchsorted(self._offsets, entries, side="right")
            signature = (places.tobytes(), family, self._reason(classes), self._kind(classes))
            members.setdefault(signature, []).append((int(entries[0]), classes))
        return [
            self._units_of([classes for _, classes in sorted(rows)], divided=True)
            for rows in members.values()
        ]

    def _units_of(self, rows: Sequence[tuple[int, ...]], *, divided: bool = False) -> _Units:
        return _Units(
            classes=_rectangular(rows),
            entries=np.stack([self._entries(classes) for classes in rows]),
            kind=self._kind(rows[0]),
            reason=self._reason(rows[0]),
            inexact=tuple(sorted({name for one in rows[0] for name in self._inexact.get(one, ())})),
            divided=divided,
        )

    def _entries(self, classes: Sequence[int]) -> NDArray[np.int64]:
        """All entries of some classes, ascending."""
        runs = [self._by_class[self._starts[one] : self._starts[one + 1]] for one in classes]
        return runs[0] if len(runs) == 1 else np.sort(np.concatenate(runs))

    def _reason(self, classes: Sequence[int]) -> Reason | None:
        return next((self._reasons[one] for one in classes if one in self._reasons), None)

    def _kind(self, classes: Sequence[int]) -> Kind:
        """The foremost of the marks that some classes carry."""
        marks: list[Kind] = [self._kinds[one] for one in classes if one in self._kinds]
        return min(marks, key=_RANK.__getitem__, default="channels")

    def _first(self, marked: Iterable[tuple[Labels, Value]]) -> dict[int, Value]:
        """What was first said of each class."""
        said: dict[int, Value] = {}
        for labels, value in marked:
            for number in np.unique(self._class_of[labels]).tolist():
                said.setdefault(number, value)
        return said


# Whoever carries several marks is what comes first here.
_RANK: dict[Kind, int] = {"blocks": 0, "groups": 1, "heads": 2, "width": 3, "channels": 4}


def _rectangular(rows: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """Rows of one length; shorter ones repeat their last entry."""
    width = max(len(row) for row in rows)
    return np.asarray([(*row, *row[-1:] * (width - len(row))) for row in rows], dtype=np.int64)

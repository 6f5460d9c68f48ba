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
    enclosing: Mapping[str, Labels]
    """For nodes inside removable branches the labels of those branches: the node runs while all stay."""

    def narrowed(self, cuts: Iterable[Cut]) -> Narrowed:
        """The sizes that remain after some cuts.

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
            kept[self.unit_classes[cut.group][list(cut.removed)]] = False
        return Narrowed(self.axes, self.notes, kept[self.class_of])

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


_Place = tuple[str, int]
"""A parameter's name and one of its axes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """Classes that go together, and what decides with which others they form a group."""

    classes: tuple[int, ...]
    places: Mapping[_Place, Labels]
    alike: object
    reason: Reason | None
    kind: Kind
    inexact: tuple[str, ...]


class _Grouping:
    """From classes to units, and from units that live in the same slices to groups."""

    def __init__(self, flow: Flow, class_of: NDArray[np.int64]) -> None:
        self._flow = flow
        self._class_of = class_of
        self._positions = self._find_positions()
        self._closures = Closures(flow.products, class_of, self._first(flow.locks))
        self._reasons = self._closures.reasons
        self._kinds = self._first(flow.kinds)
        self._inexact: dict[int, set[str]] = {}
        for labels, name in flow.inexact:
            for number in np.unique(class_of[labels]).tolist():
                self._inexact.setdefault(number, set()).add(name)

    def groups(self) -> tuple[list[Group], dict[str, NDArray[np.int64]]]:
        """All groups in the order of their first parameter, and the classes of their units."""
        produced = {place for place, role in self._flow.roles.items() if role == "producer"}
        members: dict[object, list[_Unit]] = {}
        for unit in self._units():
            if not produced.isdisjoint(unit.places):
                signature = tuple((place, len(found)) for place, found in unit.places.items())
                key = (signature, unit.alike, unit.reason, unit.kind, unit.inexact)
                members.setdefault(key, []).append(unit)
        groups, unit_classes, names = [], {}, Counter[str]()
        free = _covered(unit for units in members.values() for unit in units if unit.reason is None)
        for units in members.values():
            first = units[0]
            if _is_beside_the_point(units, free, produced):
                continue
            name = next(place for place in first.places if place in produced)[0].removesuffix(".weight")
            name = name if first.kind == "channels" else f"{name}/{first.kind}"
            names[name] += 1
            unique = name if names[name] == 1 else f"{name}#{names[name]}"
            groups.append(self._group(unique, units))
            unit_classes[unique] = _rectangular([unit.classes for unit in units])
        return groups, unit_classes

    def _group(self, name: str, units: Sequence[_Unit]) -> Group:
        first = units[0]
        slices = tuple(
            Slice(
                tensor=place[0],
                axis=place[1],
                role=self._flow.roles.get(place, "attached"),
                indices=np.stack([unit.places[place] for unit in units]),
            )
            for place in first.places
        )
        return Group(name, len(units), slices, first.reason, first.kind, first.inexact)

    def _units(self) -> list[_Unit]:
        """Single classes, and where axes are split or merged the sets closed under that."""
        divided = self._closures.members
        order = {number: place for place, number in enumerate(self._positions)}
        ranked = [
            (order[number], self._unit((number,), None, number))
            for number in self._positions
            if number not in divided
        ]
        for classes, family in self._closures.units().items():
            ordered = tuple(sorted(classes))
            first = min((order[one] for one in ordered if one in order), default=None)
            if first is not None:
                ranked.append((first, self._unit(ordered, family, self._seed(ordered))))
        return [unit for _, unit in sorted(ranked, key=lambda pair: pair[0])]

    def _seed(self, classes: Sequence[int]) -> int:
        """The class whose mark names the kind of the whole unit."""
        marked = [one for one in classes if one in self._kinds]
        return min(marked, key=lambda one: _RANK[self._kinds[one]]) if marked else classes[0]

    def _unit(self, classes: tuple[int, ...], alike: object, seed: int) -> _Unit:
        places: dict[_Place, list[Labels]] = {}
        for number in classes:
            for place, found in self._positions.get(number, {}).items():
                places.setdefault(place, []).append(found)
        inexact = {name for one in classes for name in self._inexact.get(one, ())}
        return _Unit(
            classes=classes,
            places={place: _sorted_union(found) for place, found in places.items()},
            alike=alike,
            reason=next((self._reasons[one] for one in classes if one in self._reasons), None),
            kind=self._kinds.get(seed, "channels"),
            inexact=tuple(sorted(inexact)),
        )

    def _first(self, marked: Iterable[tuple[Labels, Value]]) -> dict[int, Value]:
        """What was first said of each class."""
        said: dict[int, Value] = {}
        for labels, value in marked:
            for number in np.unique(self._class_of[labels]).tolist():
                said.setdefault(number, value)
        return said

    def _find_positions(self) -> dict[int, dict[_Place, Labels]]:
        """For every class the parameter axes it lives in, and its positions there."""
        found: dict[int, dict[_Place, Labels]] = {}
        for tensor, axes in self._flow.tensors.items():
            for axis, labels in enumerate(axes):
                if labels is None:
                    continue
                classes = self._class_of[labels]
                order = np.argsort(classes, kind="stable")
                bounds = np.flatnonzero(np.diff(classes[order])) + 1
                for run in np.split(order, bounds):
                    if len(run):
                        found.setdefault(int(classes[run[0]]), {})[(tensor, axis)] = run
        return found


# Whoever carries several marks is what comes first here.
_RANK: dict[Kind, int] = {"blocks": 0, "groups": 1, "heads": 2, "width": 3, "channels": 4}


def _covered(units: Iterable[_Unit]) -> dict[_Place, set[int]]:
    """The positions that some unit takes along."""
    covered: dict[_Place, set[int]] = {}
    for unit in units:
        for place, found in unit.places.items():
            covered.setdefault(place, set()).update(found.tolist())
    return covered


def _is_beside_the_point(
    units: Sequence[_Unit], free: Mapping[_Place, set[int]], produced: set[_Place]
) -> bool:
    """Whether a divided axis that is locked one way is free another way, so that its lock is no news."""
    reason = units[0].reason
    return (
        units[0].alike is not None
        and reason is not None
        and not reason.inexact
        and all(
            free.get(place, set()).issuperset(found.tolist())
            for unit in units
            for place, found in unit.places.items()
            if place in produced
        )
    )


def _sorted_union(found: Sequence[Labels]) -> Labels:
    return found[0] if len(found) == 1 else np.sort(np.concatenate(found))


def _rectangular(rows: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """Rows of one length; shorter ones repeat their last entry."""
    width = max(len(row) for row in rows)
    return np.asarray([(*row, *row[-1:] * (width - len(row))) for row in rows], dtype=np.int64)

"""Coupling: walk the graph once with the rules, then join labels into units and units into groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.fx import Node

from edgeprune.core.errors import DocumentError
from edgeprune.core.group import Group, Reason, Slice
from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, attribute, shape_of, tensor_shape
from edgeprune.graph.flow import Axes, Consumption, Flow, Labels, Narrowed, unlabelled
from edgeprune.graph.rules import RULES


@dataclass(frozen=True, slots=True, eq=False)
class Coupling:
    """What must be cut together in one program.

    A *class* is a set of labels that stay or go together; `class_of[label]` is its number.
    """

    program: Program
    groups: tuple[Group, ...]
    axes: Mapping[str, Axes | list[Axes]]
    tensors: Mapping[str, Axes]
    consumptions: tuple[Consumption, ...]
    class_of: NDArray[np.int64]
    unit_classes: Mapping[str, NDArray[np.int64]]

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
        return Narrowed(dict(self.axes), kept[self.class_of])

    def free(self) -> list[Group]:
        """The groups that may be cut."""
        return [group for group in self.groups if group.locked is None and group.units > 1]


def couple(program: Program) -> Coupling:
    """Find every group of a program, in time linear in nodes and labels."""
    flow = _walk(program)
    class_of = _join_labels(flow)
    reasons = _reasons(flow, class_of)
    groups, unit_classes = _form_groups(flow, class_of, reasons)
    return Coupling(
        program=program,
        groups=groups,
        axes={node.name: axes for node, axes in flow.axes.items()},
        tensors=flow.tensors,
        consumptions=tuple(flow.consumptions),
        class_of=class_of,
        unit_classes=unit_classes,
    )


def _walk(program: Program) -> Flow:
    flow = Flow(program)
    seen: dict[int, Axes] = {}
    for node in program.graph.nodes:
        flow.axes[node] = _label(flow, node, seen)
    return flow


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


def operator_name(node: Node) -> str:
    """The key of a node in the table of rules."""
    target = node.target
    if isinstance(target, str):
        return target
    return (
        str(target)
        if not hasattr(target, "__module__") or "aten" in str(target)
        else (f"{target.__module__}.{target.__name__}")
    )


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


def _reasons(flow: Flow, class_of: NDArray[np.int64]) -> dict[int, Reason]:
    """The first reason that locks each class."""
    reasons: dict[int, Reason] = {}
    for labels, reason in flow.locks:
        for number in np.unique(class_of[labels]).tolist():
            reasons.setdefault(number, reason)
    return reasons


def _form_groups(
    flow: Flow, class_of: NDArray[np.int64], reasons: dict[int, Reason]
) -> tuple[tuple[Group, ...], dict[str, NDArray[np.int64]]]:
    """Classes that live in the same slices, equally often, for the same reason, form one group."""
    positions = _positions(flow, class_of)
    produced = {key for key, role in flow.roles.items() if role == "producer"}
    members: dict[object, list[int]] = {}
    for number, places in positions.items():
        if any(key in produced for key in places):
            signature = (
                tuple((key, len(indices)) for key, indices in places.items()),
                reasons.get(number),
            )
            members.setdefault(signature, []).append(number)
    groups, unit_classes, names = [], {}, Counter[str]()
    for numbers in members.values():
        places = positions[numbers[0]]
        slices = tuple(
            Slice(
                tensor=key[0],
                axis=key[1],
                role=flow.roles.get(key, "attached"),
                indices=np.stack([positions[number][key] for number in numbers]),
            )
            for key in places
        )
        name = _name(next(key for key in places if key in produced)[0])
        names[name] += 1
        unique = name if names[name] == 1 else f"{name}#{names[name]}"
        groups.append(Group(unique, len(numbers), slices, reasons.get(numbers[0])))
        unit_classes[unique] = np.asarray(numbers, dtype=np.int64)
    return tuple(groups), unit_classes


def _positions(flow: Flow, class_of: NDArray[np.int64]) -> dict[int, dict[tuple[str, int], Labels]]:
    """For every class the parameter axes it lives in, and its positions there."""
    found: dict[int, dict[tuple[str, int], Labels]] = {}
    for tensor, axes in flow.tensors.items():
        for axis, labels in enumerate(axes):
            if labels is None:
                continue
            classes = class_of[labels]
            order = np.argsort(classes, kind="stable")
            bounds = np.flatnonzero(np.diff(classes[order])) + 1
            for run in np.split(order, bounds):
                if len(run):
                    found.setdefault(int(classes[run[0]]), {})[(tensor, axis)] = run
    return found


def _name(tensor: str) -> str:
    return tensor.removesuffix(".weight")

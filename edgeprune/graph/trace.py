"""Trace: where the channels of a layer are made, what they pass, and who reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from edgeprune.core.group import Group, Role
from edgeprune.core.inspection import LayerRow
from edgeprune.graph.cost import CostModel
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Axes, Consumption
from edgeprune.graph.nodes import operator_name, shape_of, source_of

Does = Literal["pass", "meet", "join", "read", "sum", "end"]
_Place = tuple[str, int]
"""A parameter's name and one of its axes."""

INPUT = "the network's input"
"""Stands for a layer where channels come from outside."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module by its parameters, and the first operator that reads them."""

    path: str
    node: Node
    tensors: tuple[str, ...]
    made: tuple[_Place, ...]
    """Parameter axes whose indices are channels it makes, or filters or scales."""
    makes: int
    """Channels it makes, filters or scales; 0 where they cannot be followed."""
    consumptions: tuple[Consumption, ...]
    matrix: bool
    """Whether it has a parameter of two or more axes, so that it is more than a norm or a scale."""

    @property
    def reads(self) -> int:
        """Channels it reads; 0 where they cannot be followed."""
        if not self.consumptions:
            return 0
        first = self.consumptions[0]
        return shape_of(first.source)[first.input_axis] or 0


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one operator does with the channels; `others` are layers that make what it adds to them."""

    does: Does
    node: Node
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes with one unit: MACs, and elements by parameter."""

    macs: int
    parameters: Mapping[str, int]


class Tracer:
    """Answers questions about the layers of one coupled program."""

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        self._model = CostModel(coupling)
        self._groups: dict[_Place, list[Group]] = {}
        self._roles: dict[_Place, Role] = {}
        for group in coupling.groups:
            for piece in group.slices:
                self._groups.setdefault((piece.tensor, piece.axis), []).append(group)
                self._roles[piece.tensor, piece.axis] = piece.role
        self._consumptions: dict[Node, list[Consumption]] = {}
        for one in coupling.consumptions:
            self._consumptions.setdefault(one.node, []).append(one)
        self.layers = {layer.path: layer for layer in self._find_layers()}
        self._makers: dict[Node, tuple[str, ...]] = {}

    def groups_of(self, layer: Layer) -> list[Group]:
        """The groups that the channels it makes belong to."""
        return self._owners(layer.made)

    def groups_read(self, layer: Layer) -> list[Group]:
        """The groups of the channels it reads."""
        return self._owners((one.tensor, one.axis) for one in layer.consumptions)

    def row(self, layer: Layer) -> LayerRow:
        """The layer as documents list it."""
        return LayerRow(
            path=layer.path,
            operator=operator_name(layer.node),
            source=source_of(layer.node),
            reads=layer.reads,
            makes=layer.makes,
            groups=tuple(group.id for group in self.groups_of(layer)),
        )

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """The layers that make what it reads, or works on."""
        read = [one.source for one in layer.consumptions]
        for node in [] if read else self._operators(layer):
            read += _activations(node)
        found = {path for one in read for path in self._made_by(one)}
        return tuple(path for path in (INPUT, *self.layers) if path in found)

    def branches(self, layer: Layer) -> list[str]:
        """Names of the removable residual branches it lies in."""
        return [block.name for block in self._coupling.blocks.values() if layer.node in block.members]

    def removal(self, group: Group) -> Removal:
        """What goes when the group's last unit goes, whether that is allowed or not."""
        coupling = self._coupling
        whole, kept = coupling.kept(()), coupling.kept(())
        kept[coupling.unit_classes[group.id][-1]] = False
        narrow = kept[coupling.class_of]
        gone = {}
        for name, parameter in coupling.program.module.named_parameters():
            if name in coupling.tensors:
                less = _elements(coupling.tensors[name], tuple(parameter.shape), narrow)
                if less < parameter.numel():
                    gone[name] = parameter.numel() - less
        return Removal(self._model.macs(whole) - self._model.macs(kept), gone)

    def steps(self, layer: Layer) -> Iterator[Step]:
        """The way of the channels a layer makes, operator by operator, until they are read."""
        carried = self._carried(self.groups_of(layer))
        moving, known = set(self._operators(layer)), {layer.path}
        for node in self._coupling.program.graph.nodes:
            arriving = [value for value in node.all_input_nodes if value in moving]
            if not arriving:
                continue
            read = self._does_read(node, arriving, carried)
            if read is not None:
                yield Step(read, node)
            # A layer that is used twice may read its own channels.
            if read == "read" or node in moving:
                continue
            if not self._carries(node, carried):
                if read is None and not _asks_for_shape(node):
                    yield Step("end", node)
                continue
            moving.add(node)
            if read is None and operator_name(node) != "_operator.getitem":
                yield self._passing(node, moving, known, carried)

    def _passing(self, node: Node, moving: set[Node], known: set[str], carried: NDArray[np.bool_]) -> Step:
        others = [value for value in _activations(node) if value not in moving]
        makers = dict.fromkeys(path for one in others for path in self._made_by(one))
        fresh = tuple(path for path in makers if path not in known)
        known.update(makers)
        if not others:
            return Step("pass", node)
        is_met = any(self._carries(one, carried) for one in others)
        return Step("meet" if is_met else "join", node, fresh)

    def _does_read(self, node: Node, arriving: list[Node], carried: NDArray[np.bool_]) -> Does | None:
        for one in self._consumptions.get(node, ()):
            if one.source in arriving and _any(self._axes(one.source)[one.input_axis], carried):
                return "read"
        for reading in self._coupling.readings:
            if (
                reading.node is node
                and reading.source in arriving
                and _any(self._axes(reading.source)[reading.axis], carried)
            ):
                return "sum"
        return None

    def _carried(self, groups: Iterable[Group]) -> NDArray[np.bool_]:
        """For every label whether it goes with one of the groups."""
        coupling = self._coupling
        classes = np.zeros(int(coupling.class_of.max(initial=-1)) + 1, dtype=bool)
        for group in groups:
            classes[coupling.unit_classes[group.id].ravel()] = True
        return classes[coupling.class_of]

    def _carries(self, node: Node, carried: NDArray[np.bool_]) -> bool:
        axes = self._coupling.axes.get(node.name, ())
        parts = axes if isinstance(axes, list) else [axes]
        labelled = [labels for part in parts for labels in part if labels is not None]
        if not labelled and node.name in self._coupling.notes:
            # Within a shuffle the channels are spread over two axes without labels.
            labelled = [self._coupling.notes[node.name]]
        return any(_any(one, carried) for one in labelled)

    def _axes(self, node: Node) -> Axes:
        axes = self._coupling.axes[node.name]
        assert isinstance(axes, tuple)
        return axes

    def _operators(self, layer: Layer) -> list[Node]:
        """The operators that read a layer's parameters, through whatever is computed from these alone."""
        names, made = set(layer.tensors), list[Node]()
        constant = set[Node]()
        for node in self._coupling.program.graph.nodes:
            if node.op == "get_attr" and str(node.target) in names:
                constant.add(node)
            elif not constant.isdisjoint(node.all_input_nodes):
                (constant.add if _is_made_of_constants(node) else made.append)(node)
        return made

    def _made_by(self, node: Node) -> tuple[str, ...]:
        """The layers whose channels a value holds, in graph order."""
        if node not in self._makers:
            # Values before this one first, so that the recursion stays shallow.
            for value in self._coupling.program.graph.nodes:
                if value not in self._makers:
                    self._makers[value] = self._makers_of(value)
                if value is node:
                    break
        return self._makers[node]

    def _makers_of(self, node: Node) -> tuple[str, ...]:
        if node.op == "placeholder":
            return (INPUT,)
        if node.op == "get_attr" or _asks_for_shape(node):
            return ()
        own = [
            _path(str(value.target))
            for value in node.all_input_nodes
            if value.op == "get_attr" and self._is_produced(str(value.target))
        ]
        if own:
            return tuple(dict.fromkeys(own))
        found = (path for value in _activations(node) for path in self._makers[value])
        return tuple(dict.fromkeys(found))

    def _is_produced(self, tensor: str) -> bool:
        return any(
            self._roles.get((tensor, axis)) == "producer"
            for axis in range(len(self._coupling.tensors.get(tensor, ())))
        )

    def _labels(self, place: _Place) -> NDArray[np.int64]:
        labels = self._coupling.tensors[place[0]][place[1]]
        assert labels is not None, "an axis with a role is labelled"
        return labels

    def _owners(self, places: Iterable[_Place]) -> list[Group]:
        found = {group.id: group for place in places for group in self._groups.get(place, ())}
        return list(found.values())

    def _find_layers(self) -> Iterator[Layer]:
        """By the names of their parameters, in the order the network runs."""
        tensors: dict[str, list[Node]] = {}
        parameters = dict(self._coupling.program.module.named_parameters(remove_duplicate=False))
        for node in self._coupling.program.graph.nodes:
            if node.op == "get_attr" and str(node.target) in parameters and node.users:
                tensors.setdefault(_path(str(node.target)), []).append(node)
        for path, nodes in tensors.items():
            yield self._layer(path, nodes)

    def _layer(self, path: str, nodes: list[Node]) -> Layer:
        names = tuple(dict.fromkeys(str(node.target) for node in nodes))
        places = [(name, axis) for name in names for axis in range(len(self._coupling.tensors[name]))]
        made = [place for place in places if self._roles.get(place) == "producer"]
        attached = [place for place in places if self._roles.get(place) == "attached"]
        first = next((node for node in nodes if made and str(node.target) == made[0][0]), nodes[0])
        return Layer(
            path=path,
            node=next(iter(first.users)),
            tensors=names,
            made=tuple(made or attached),
            makes=next((len(self._labels(place)) for place in made or attached), 0),
            consumptions=tuple(one for one in self._coupling.consumptions if one.tensor in names),
            matrix=any(len(self._coupling.tensors[name]) > 1 for name in names),
        )


def _path(tensor: str) -> str:
    """The module a parameter belongs to; one of the network itself stands for itself."""
    return tensor.rpartition(".")[0] or tensor


def _activations(node: Node) -> list[Node]:
    """The operands that depend on the network's input, sizes left out."""
    return [
        value
        for value in node.all_input_nodes
        if not isinstance(value.meta.get("val"), torch.SymInt) and not _is_made_of_constants(value)
    ]


def _asks_for_shape(node: Node) -> bool:
    """Whether an operator reads the shape of its operand and no value."""
    value = node.meta.get("val")
    return isinstance(value, torch.SymInt) or operator_name(node).startswith("aten.new_")


def _is_made_of_constants(node: Node) -> bool:
    if node.op == "get_attr":
        return True
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(map(_is_made_of_constants, inputs))


def _any(labels: NDArray[np.int64] | None, carried: NDArray[np.bool_]) -> bool:
    return labels is not None and bool(carried[labels].any())


def _elements(axes: Axes, shape: tuple[int, ...], kept: NDArray[np.bool_]) -> int:
    return math.prod(
        size if labels is None else int(kept[labels].sum()) for labels, size in zip(axes, shape, strict=True)
    )

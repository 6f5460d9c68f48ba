"""Labels: one integer per index of every cuttable axis, and the equalities that operators impose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch.fx import Node

from edgeprune.core.group import Reason, Role
from edgeprune.graph.capture import Program, shape_of, source_of

Labels = NDArray[np.int64]
# One entry per axis: its labels, or None for an axis that is never cut (batch, height, time, ...).
Axes = tuple[Labels | None, ...]

COMPUTED_WEIGHT = "read by a weight that is itself computed"
PLAIN_WEIGHT = "store the weight as a plain parameter"


@dataclass(frozen=True, slots=True, eq=False)
class Consumption:
    """Axis `axis` of parameter `tensor` reads axis `input_axis` of `source` in operator `node`."""

    tensor: str
    axis: int
    node: Node
    source: Node
    input_axis: int


@dataclass(slots=True, eq=False)
class Flow:
    """What rules write while they walk a graph: labels per value, equalities, locks and roles."""

    program: Program
    axes: dict[Node, Axes | list[Axes]] = field(default_factory=dict)
    tensors: dict[str, Axes] = field(default_factory=dict)
    equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    locks: list[tuple[Labels, Reason]] = field(default_factory=list)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    consumptions: list[Consumption] = field(default_factory=list)
    count: int = 0

    def fresh(self, size: int) -> Labels:
        """New labels that nothing is known about."""
        self.count += size
        return np.arange(self.count - size, self.count, dtype=np.int64)

    def of(self, value: object) -> Axes:
        """The axes of an operand that is one tensor."""
        assert isinstance(value, Node)
        axes = self.axes[value]
        assert isinstance(axes, tuple)
        return axes

    def equate(self, node: Node, first: Labels | None, second: Labels | None) -> Labels | None:
        """Two axes that must be cut alike; an axis that is never cut locks its partner."""
        if first is None or second is None:
            labelled = first if second is None else second
            self.lock(node, labelled, "meets an axis that cannot be cut")
            return labelled
        if first is not second:
            self.equal.append((first, second))
        return first

    def lock(self, node: Node, labels: Labels | None, why: str, hint: str = "") -> None:
        """Forbid cutting some labels, with the operator and the user's line as the reason."""
        if labels is not None and labels.size:
            operator = str(node.target) if node.op == "call_function" else node.op
            self.locks.append((labels.ravel(), Reason(why, operator, source_of(node), hint)))

    def lock_all(self, node: Node, values: Sequence[Node], why: str, hint: str = "") -> None:
        """Lock every label of some operands."""
        for value in values:
            axes = self.axes[value]
            for one in axes if isinstance(axes, list) else [axes]:
                for labels in one:
                    self.lock(node, labels, why, hint)

    def play(self, value: object, axis: int, role: Role) -> None:
        """Note the role of a parameter's axis; values computed from parameters have none."""
        if isinstance(value, Node) and value.op == "get_attr":
            self.roles.setdefault((str(value.target), axis), role)

    def consume(self, node: Node, weight: object, axis: int, source: object, input_axis: int) -> None:
        """The weight's axis reads the source's axis: cutting one cuts the other, and ends there."""
        assert isinstance(weight, Node)
        assert isinstance(source, Node)
        if weight.op != "get_attr":
            self.lock(node, self.of(source)[input_axis], COMPUTED_WEIGHT, PLAIN_WEIGHT)
            return
        self.play(weight, axis, "consumer")
        name = str(weight.target)
        self.consumptions.append(Consumption(name, axis, node, source, input_axis))


Label = Callable[[Flow, Node], "Axes | list[Axes]"]


@dataclass(frozen=True, slots=True, eq=False)
class Narrowed:
    """Sizes of every axis after a cut, for rules that rewrite constants."""

    axes: dict[str, Axes | list[Axes]]
    kept: NDArray[np.bool_]
    """For every label whether it stays."""

    def count(self, labels: Labels | None, size: int) -> int:
        """How many of an axis's indices stay; an axis that is never cut keeps its size."""
        return size if labels is None else int(self.kept[labels].sum())

    def of(self, node: Node) -> Axes:
        """The axes of a node of the copied graph (names are kept)."""
        axes = self.axes[node.name]
        assert isinstance(axes, tuple)
        return axes

    def parts(self, node: Node) -> list[Axes]:
        """The axes of each output of a node with several."""
        axes = self.axes[node.name]
        assert isinstance(axes, list)
        return axes


Rewrite = Callable[[Node, Narrowed], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """How labels flow through an operator, and which of its constants follow a cut."""

    label: Label
    rewrite: Rewrite | None = None


def unlabelled(node: Node) -> Axes:
    """Axes that are never cut, one per axis of the node's value."""
    return (None,) * len(shape_of(node))


def argument(node: Node, index: int, default: object = None, name: str = "") -> object:
    """A positional argument, or its keyword, or its default."""
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(name, default)


def set_argument(node: Node, index: int, value: object) -> None:
    """Replace a positional argument that is present."""
    arguments = list(node.args)
    arguments[index] = value  # type: ignore[call-overload]
    node.args = tuple(arguments)

"""Labels: one integer per index of every cuttable axis, and the equalities that operators impose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.group import Kind, Reason, Role
from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import shape_of, source_of, stored

Labels = NDArray[np.int64]
# One entry per axis: its labels, or None for an axis that is never cut (batch, height, time, ...).
Axes = tuple[Labels | None, ...]

COMPUTED_WEIGHT = "read by a weight whose channels cannot be followed"
PLAIN_WEIGHT = "store the weight as a plain parameter"


@dataclass(frozen=True, slots=True, eq=False)
class Consumption:
    """Axis `axis` of parameter `tensor` reads axis `input_axis` of `source` in operator `node`."""

    tensor: str
    axis: int
    node: Node
    source: Node
    input_axis: int


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Operator `node` sums over axis `axis` of `source`: a cut index is read as zero there."""

    node: Node
    source: Node
    axis: int


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """An axis split into several, or several merged into one.

    An index of the flat axis stays exactly while the index of every factor it is made of stays:
    `flat` has shape (len(factors[0]), len(factors[1]), ...).
    """

    flat: Labels
    factors: tuple[Labels, ...]
    lanes: bool = False
    """Whether the indices in a row of `flat` may change places, each row for itself (`graph/lanes.py`)."""


@dataclass(slots=True, eq=False)
class Flow:
    """What rules write while they walk a graph: labels per value, relations, locks and roles."""

    program: Program
    allow: frozenset[str] = frozenset()
    """Inexact operators under which cuts are allowed, see `core.group.INEXACT`."""
    axes: dict[Node, Axes | list[Axes]] = field(default_factory=dict)
    tensors: dict[str, Axes] = field(default_factory=dict)
    equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    locks: list[tuple[Labels, Reason]] = field(default_factory=list)
    inexact: list[tuple[Labels, str]] = field(default_factory=list)
    kinds: list[tuple[Labels, Kind]] = field(default_factory=list)
    roles: dict[tuple[str, int], Role] = field(default_factory=dict)
    consumptions: list[Consumption] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    silenced: set[tuple[str, int]] = field(default_factory=set)
    """Axes of parameters whose cut indices the silenced original has as zeros."""
    notes: dict[Node, Labels] = field(default_factory=dict)
    """Labels a rule keeps for its rewrite: the groups of a convolution or group norm."""
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

    def meet(self, node: Node, labels: Sequence[Labels | None]) -> Labels | None:
        """Any number of axes that must be cut alike; None when none of them can be cut."""
        result = labels[0]
        for other in labels[1:]:
            if result is not None or other is not None:
                result = self.equate(node, result, other)
        return result

    def divide(self, labels: Labels, sizes: Sequence[int]) -> tuple[Labels | None, ...]:
        """Split one axis into several, outermost first; axes of size one are never cut."""
        long = [place for place, size in enumerate(sizes) if size > 1]
        if len(long) < 2:
            factors = [labels] * len(long)
        else:
            factors = [self.fresh(sizes[place]) for place in long]
            self.products.append(Product(labels.reshape([sizes[one] for one in long]), tuple(factors)))
        made: list[Labels | None] = [None] * len(sizes)
        for place, factor in zip(long, factors, strict=True):
            made[place] = factor
        return tuple(made)

    def merge(self, axes: Sequence[Labels | None], sizes: Sequence[int]) -> Labels | None:
        """Flatten several axes into one, outermost first; None when none of them can be cut."""
        labelled = [place for place, labels in enumerate(axes) if labels is not None]
        if not labelled:
            return None
        factors = [axes[place] for place in labelled]
        inner = [sizes[place] for place in labelled]
        if len(labelled) == 1:
            flat = factors[0]
        else:
            flat = self.fresh(math.prod(inner)).reshape(inner)
            self.products.append(Product(flat, tuple(one for one in factors if one is not None)))
        assert flat is not None
        shape = [size if place in labelled else 1 for place, size in enumerate(sizes)]
        return np.ascontiguousarray(np.broadcast_to(flat.reshape(shape), sizes)).ravel()

    def lock(self, node: Node, labels: Labels | None, why: str, hint: str = "", inexact: str = "") -> None:
        """Forbid cutting some labels, with the operator and the user's line as the reason."""
        if labels is None or not labels.size:
            return
        if inexact and inexact in self.allow:
            self.inexact.append((labels.ravel(), inexact))
            return
        operator = str(node.target) if node.op == "call_function" else node.op
        self.locks.append((labels.ravel(), Reason(why, operator, source_of(node), hint, inexact)))

    def lock_axes(self, node: Node, axes: Sequence[Labels | None], why: str) -> None:
        """Forbid cutting any of some axes."""
        for labels in axes:
            self.lock(node, labels, why)

    def lock_all(self, node: Node, values: Sequence[Node], why: str, hint: str = "") -> None:
        """Lock every label of some operands."""
        for value in values:
            axes = self.axes[value]
            for one in axes if isinstance(axes, list) else [axes]:
                for labels in one:
                    self.lock(node, labels, why, hint)

    def mark(self, labels: Labels | None, kind: Kind) -> None:
        """Say what units made of these labels are."""
        if labels is not None:
            self.kinds.append((labels, kind))

    def play(self, value: object, axis: int, role: Role) -> None:
        """Note the role of a parameter's axis; values computed from parameters have none."""
        found = self._stored_axis(value, axis)
        if found is not None:
            self.roles.setdefault(found, role)

    def read(self, node: Node, source: object, axis: int) -> None:
        """The operator sums over an axis of an activation: cutting an index there is reading zero."""
        assert isinstance(source, Node)
        if self.of(source)[axis] is not None:
            self.readings.append(Reading(node, source, axis % len(self.of(source))))

    def consume(self, node: Node, weight: object, axis: int, source: object, input_axis: int) -> None:
        """The weight's axis reads the source's axis: cutting one cuts the other, and ends there."""
        assert isinstance(weight, Node)
        assert isinstance(source, Node)
        found = self._stored_axis(weight, axis)
        if found is None:
            self.read(node, source, input_axis)
            return
        self.silence(weight, axis)
        self.consumptions.append(Consumption(*found, node, source, input_axis))

    def silence(self, weight: object, axis: int) -> None:
        """A parameter's axis that reads activations: its cut indices count as zero."""
        self.play(weight, axis, "consumer")
        found = self._stored_axis(weight, axis)
        assert found is not None
        self.silenced.add(found)

    def _stored_axis(self, value: object, axis: int) -> tuple[str, int] | None:
        """The parameter's axis that an axis of a value is; None where the value is computed."""
        base = stored(value)
        if base is None:
            return None
        labels = self.of(value)[axis]
        return next(((str(base.target), own) for own, one in enumerate(self.of(base)) if one is labels), None)


Label = Callable[[Flow, Node], "Axes | list[Axes]"]


@dataclass(frozen=True, slots=True, eq=False)
class Narrowed:
    """Sizes of every axis after a cut, for rules that rewrite constants."""

    axes: Mapping[str, Axes | list[Axes]]
    notes: Mapping[str, Labels]
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

    def is_cut(self, labels: Labels | None) -> bool:
        """Whether any index of an axis goes."""
        return labels is not None and not self.kept[labels].all()


Rewrite = Callable[[Node, Narrowed], None]
Ignoring = Callable[[Node, Narrowed, "tuple[Any, ...]"], Tensor]


@dataclass(frozen=True, slots=True)
class Rule:
    """How labels flow through an operator, and which of its constants follow a cut.

    `ignoring` computes, at full width, what the operator answers when cut indices do not take part:
    for operators whose statistics a cut changes.
    """

    label: Label
    rewrite: Rewrite | None = None
    ignoring: Ignoring | None = None


def unlabelled(node: Node) -> Axes:
    """Axes that are never cut, one per axis of the node's value."""
    return (None,) * len(shape_of(node))

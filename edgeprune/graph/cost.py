"""Cost of a program, counted on its shapes; predictable for any cut without doing it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.artifact import Precision
from edgeprune.core.plan import Cost, Cut
from edgeprune.core.size import BYTES
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Labels, Narrowed
from edgeprune.graph.nodes import operator_name, single_sizes


def count(coupling: Coupling, narrowed: Narrowed | None = None) -> Cost:
    """The cost of a program as it is, or as it would be after a cut.

    Parameters are counted as the user stores them (tied ones once), MACs for a batch of one.
    """
    narrowed = narrowed or coupling.narrowed(())
    model = CostModel(coupling)
    kept = coupling.kept(())
    kept[coupling.class_of[~narrowed.kept]] = False
    return Cost(
        parameters=model.parameters(kept),
        macs=model.macs(kept),
        weight_bytes=_weight_bytes(coupling, narrowed),
        peak_activation_bytes=_peak_activations(coupling, narrowed),
    )


def weight_bytes(coupling: Coupling, cuts: Iterable[Cut], precision: Precision) -> int:
    """Bytes that the weights take after some cuts in a file of a precision."""
    return CostModel(coupling).weight_bytes(coupling.kept(cuts), precision)


class CostModel:
    """MACs, parameters and bytes as sums of products of widths, fast enough to ask thousands of times.

    `kept` says of every class whether it stays, see `Coupling.kept`.
    """

    def __init__(self, coupling: Coupling) -> None:
        nodes = coupling.program.graph.nodes
        macs = [term for node in nodes for term in _macs_terms(coupling, node)]
        parameters = dict(coupling.program.module.named_parameters())
        unique = {id(parameters[name]): name for name in coupling.tensors if name in parameters}
        read_by = {str(node.target): node for node in nodes if node.op == "get_attr"}
        stored = {
            name: _Term(1, [*coupling.tensors[name], *_existence(coupling, read_by[name])])
            for name in unique.values()
        }
        matrices = [term for name, term in stored.items() if parameters[name].ndim > 1]
        vectors = [term for name, term in stored.items() if parameters[name].ndim <= 1]
        self._macs = _Products.of(macs, coupling.class_of)
        self._matrices = _Products.of(matrices, coupling.class_of)
        self._vectors = _Products.of(vectors, coupling.class_of)

    def macs(self, kept: NDArray[np.bool_]) -> int:
        """Multiply-accumulates with only the kept classes."""
        return self._macs.total(kept)

    def parameters(self, kept: NDArray[np.bool_]) -> int:
        """Parameters with only the kept classes."""
        return self._matrices.total(kept) + self._vectors.total(kept)

    def weight_bytes(self, kept: NDArray[np.bool_], precision: Precision) -> int:
        """Bytes the weights take in a file of a precision with only the kept classes."""
        weight, entry = BYTES[precision]
        return math.ceil(weight * self._matrices.total(kept) + entry * self._vectors.total(kept))

    def around(self, classes: NDArray[np.int64]) -> CostModel:
        """The same costs, counted only where some classes take part: enough for differences."""
        part = copy(self)
        part._macs = self._macs.around(classes)
        part._matrices = self._matrices.around(classes)
        part._vectors = self._vectors.around(classes)
        return part

    def classes(self) -> NDArray[np.int64]:
        """Every class on which these costs depend."""
        return np.concatenate([self._macs.classes, self._matrices.classes, self._vectors.classes])


@dataclass(frozen=True, slots=True, eq=False)
class _Term:
    """`factor` times the product of the kept counts of some axes."""

    factor: int
    axes: list[Labels | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Products:
    """A sum of terms, evaluated with a few gathers over all of them at once.

    Axis a is `classes[starts[a]:starts[a + 1]]`. Term t is `factors[t]` times the counts of the axes
    `places[terms[t]:terms[t + 1]]`; the place behind the last axis counts one, for terms without axes.
    """

    axes: list[Labels]
    classes: Labels
    starts: Labels
    factors: Labels
    places: Labels
    terms: Labels

    @classmethod
    def of(cls, terms: Sequence[_Term], class_of: Labels) -> _Products:
        return cls._from(
            [(term.factor, [class_of[axis] for axis in term.axes if axis is not None]) for term in terms]
        )

    @classmethod
    def _from(cls, terms: Sequence[tuple[int, list[Labels]]]) -> _Products:
        # A layer's outputs are the next one's inputs: most axes stand in several terms.
        distinct = {axis.tobytes(): axis for _, own in terms for axis in own}
        place = {key: number for number, key in enumerate(distinct)}
        places = [[place[axis.tobytes()] for axis in own] or [len(place)] for _, own in terms]
        axes = list(distinct.values())
        return cls(
            axes=axes,
            classes=np.concatenate(axes) if axes else np.empty(0, np.int64),
            starts=_starts(axes),
            factors=np.array([factor for factor, _ in terms], dtype=np.int64),
            places=np.array([one for own in places for one in own], dtype=np.int64),
            terms=_starts(places),
        )

    def around(self, classes: Labels) -> _Products:
        if not self.axes:
            return _Products._from([])
        wanted = np.zeros(int(max(self.classes.max(), classes.max())) + 1, dtype=bool)
        wanted[classes] = True
        touched = np.append(np.logical_or.reduceat(wanted[self.classes], self.starts), False)
        return _Products._from(
            [
                (int(factor), [self.axes[place] for place in own])
                for factor, own in zip(self.factors, np.split(self.places, self.terms[1:]), strict=True)
                if touched[own].any()
            ]
        )

    def total(self, kept: NDArray[np.bool_]) -> int:
        if not self.axes:
            return int(self.factors.sum())
        counts = np.append(np.add.reduceat(kept[self.classes].astype(np.int64), self.starts), 1)
        return int(self.factors @ np.multiply.reduceat(counts[self.places], self.terms))


def _starts(parts: Sequence[Sized]) -> Labels:
    """Where each part begins when all are put in a row."""
    return np.cumsum([0, *map(len, parts[:-1])], dtype=np.int64)


def _macs_terms(coupling: Coupling, node: Node) -> list[_Term]:
    """Output elements times the length of the sum behind each of them."""
    own = _existence(coupling, node)
    return [_product(axes, own) for axes in _sums(coupling, node)]


def _sums(coupling: Coupling, node: Node) -> list[list[_Sized]]:
    """For every product the node computes the axes of all its multiply-accumulates."""
    operator = operator_name(node)
    if operator.split(".")[1:2] in (["lstm"], ["gru"], ["rnn_tanh"], ["rnn_relu"]):
        return _recurrent_sums(coupling, node)
    if not isinstance(node.meta.get("val"), Tensor):
        return []
    if operator.startswith("aten.conv_transpose"):
        return [[*_sized(coupling, node.args[0]), *_sized(coupling, node.args[1])[1:]]]
    if operator.startswith(("aten.conv", "aten.linear.")):
        return [[*_sized(coupling, node), *_sized(coupling, node.args[1])[1:]]]
    if operator in {"aten.matmul.default", "aten.bmm.default", "aten.mm.default", "aten.mv.default"}:
        return [[*_sized(coupling, node), _sized(coupling, node.args[0])[-1]]]
    if operator in {"aten.addmm.default", "aten.baddbmm.default"}:
        return [[*_sized(coupling, node), _sized(coupling, node.args[1])[-1]]]
    if operator == "aten.einsum.default":
        return [_einsum_axes(coupling, node)]
    if operator == "aten.scaled_dot_product_attention.default":
        query, key, result = (_sized(coupling, one) for one in (node.args[0], node.args[1], node))
        scores = [*result[:-1], key[-2]]
        return [[*scores, query[-1]], [*scores, result[-1]]]
    return []


def _einsum_axes(coupling: Coupling, node: Node) -> list[_Sized]:
    """Every letter once: operands are multiplied in one pass."""
    equation, operands = node.args[0], node.args[1]
    assert isinstance(equation, str)
    assert isinstance(operands, (list, tuple))
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if "." in equation or len(terms) < 2:
        return [(None, 0)]
    sizes: dict[str, _Sized] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, sized in zip(term, _sized(coupling, operand), strict=True):
            if letter not in sizes or sizes[letter][1] == 1:
                sizes[letter] = sized
    return list(sizes.values())


def _recurrent_sums(coupling: Coupling, node: Node) -> list[list[_Sized]]:
    """Every weight matrix once per time step."""
    steps = [size for _, size in _sized(coupling, node.args[0])[:-1]]
    weights = node.args[2]
    assert isinstance(weights, (list, tuple))
    return [
        [*((None, size) for size in steps), *_sized(coupling, one)]
        for one in weights
        if isinstance(one, Node) and len(_sized(coupling, one)) == 2
    ]


def _existence(coupling: Coupling, node: Node) -> list[Labels]:
    """One axis of one index for every removable branch around a node."""
    return [labels[None] for labels in coupling.enclosing.get(node.name, ())]


_Sized = tuple[Labels | None, int]
"""One axis: its labels if it may be cut, and its size."""


def _sized(coupling: Coupling, node: object) -> list[_Sized]:
    assert isinstance(node, Node)
    axes = coupling.axes[node.name]
    assert isinstance(axes, tuple)
    return list(zip(axes, single_sizes(node.meta["val"]), strict=True))


def _product(axes: list[_Sized], existence: list[Labels]) -> _Term:
    fixed = math.prod(size for labels, size in axes if labels is None)
    return _Term(fixed, [*(labels for labels, _ in axes if labels is not None), *existence])


def _weight_bytes(coupling: Coupling, narrowed: Narrowed) -> int:
    total, seen = 0, set()
    gone = {
        str(node.target)
        for node in coupling.program.graph.nodes
        if node.op == "get_attr" and not coupling.runs(node, narrowed)
    }
    for name, tensor in coupling.program.tensors().items():
        # Positions to pick are the graph's own constants, which surgery may add to.
        if id(tensor) not in seen and name not in gone and tensor.is_floating_point():
            seen.add(id(tensor))
            axes = coupling.tensors[name]
            sizes = [narrowed.count(one, size) for one, size in zip(axes, tensor.shape, strict=True)]
            total += math.prod(sizes) * tensor.element_size()
    return total


def _peak_activations(coupling: Coupling, narrowed: Narrowed) -> int:
    """Largest sum of values alive at once when nodes run in order and die after their last reader."""
    instead = _bypassed(coupling, narrowed)
    nodes = [
        node for node in coupling.program.graph.nodes if node not in instead and coupling.runs(node, narrowed)
    ]
    last = {instead.get(value, value): node for node in nodes for value in node.all_input_nodes}
    alive, peak = 0, 0
    size: dict[Node, int] = {}
    for node in nodes:
        if node.op in {"get_attr", "output"}:
            continue
        size[node] = _value_bytes(node, narrowed)
        alive += size[node]
        peak = max(peak, alive)
        read = {instead.get(value, value) for value in node.all_input_nodes}
        alive -= sum(size.get(value, 0) for value in read if last[value] is node)
        if node not in last:
            alive -= size[node]
    return peak


def _bypassed(coupling: Coupling, narrowed: Narrowed) -> dict[Node, Node]:
    """The sums whose branch goes, and the value that stands in for each."""
    instead: dict[Node, Node] = {}
    for label, block in coupling.blocks.items():
        if not narrowed.kept[label]:
            instead[block.total] = instead.get(block.skip, block.skip)
    return instead


def _value_bytes(node: Node, narrowed: Narrowed) -> int:
    value = node.meta.get("val")
    axes = narrowed.axes[node.name]
    if not isinstance(value, Tensor) or isinstance(axes, list):
        return 0  # parts of a divided value are views: the value itself is counted
    if node.target in _VIEWS:
        return 0
    sizes = [narrowed.count(labels, size) for labels, size in zip(axes, single_sizes(value), strict=True)]
    spread = narrowed.notes.get(node.name) if all(labels is None for labels in axes) else None
    # Within a shuffle the channels are spread over two axes without labels.
    share = 1 if spread is None else narrowed.count(spread, 0) / len(spread)
    return round(math.prod(sizes) * share) * value.element_size()


_VIEWS = {
    torch.ops.aten.view.default,
    torch.ops.aten.flatten.using_ints,
    torch.ops.aten.permute.default,
    torch.ops.aten.transpose.int,
    torch.ops.aten.unsqueeze.default,
    torch.ops.aten.dropout.default,
}

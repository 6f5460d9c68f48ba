"""Spans: values whose channels may be scaled, as long as all of them are scaled alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import Consumer, norm_tensors
from edgeprune.graph.linear_map import Phases
from edgeprune.graph.nodes import argument, operator_name, shape_of

_HOMOGENEOUS = frozenset(
    f"aten.{name}"
    for name in (
        "adaptive_avg_pool2d.default adaptive_max_pool2d.default avg_pool2d.default clone.default "
        "contiguous.default dropout.default flatten.using_ints leaky_relu.default max_pool2d.default "
        "mean.dim relu.default reshape.default view.default"
    ).split()
)
"""Operators with f(s x) = s f(x) for every s > 0, channel by channel; ReLU6 and hard-swish are none."""
_RESHAPING = frozenset({"aten.flatten.using_ints", "aten.reshape.default", "aten.view.default"})


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Values, the layers that make them, and those that read them; channels are on axis 1 of all."""

    values: tuple[Node, ...]
    makers: tuple[Consumer, ...]
    readers: tuple[Consumer, ...]


def find_spans(program: Program, layers: Sequence[Consumer]) -> list[Span]:
    """Spans whose channels may be multiplied where they are made and divided where they are read.

    What enters or leaves the network is in none, nor what an operator reads or answers that is not
    homogeneous.
    """
    layers = [one for one in layers if _scalable(one)]
    made = {one.output: one for one in layers}
    inside = {one.node for one in layers}
    family: dict[Node, set[Node]] = {}
    bound: set[Node] = set()
    for node in program.graph.nodes:
        if node.op == "get_attr":
            continue
        family.setdefault(node, {node})
        if node in made or node in inside:
            continue
        sources = [one for one in node.all_input_nodes if one.op != "get_attr"]
        if _passes(node, sources):
            for source in sources:
                joined = family[node] | family[source]
                family.update(dict.fromkeys(joined, joined))
        else:
            bound |= {node, *sources}
    found = []
    for values in {id(one): one for one in family.values()}.values():
        makers = tuple(made[node] for node in values if node in made)
        readers = tuple(one for one in layers if one.source in values)
        if makers and readers and not values & bound:
            found.append(Span(tuple(values), makers, readers))
    return found


def _scalable(one: Consumer) -> bool:
    """Whether a layer's channels are on axis 1, and its outputs can be multiplied."""
    if isinstance(one.map, Phases) or one.map.channel_axis % len(shape_of(one.node)) != 1:
        return False
    names = norm_tensors(one.norm) if one.norm is not None else None
    return names is None or None not in names


def _passes(node: Node, sources: Sequence[Node]) -> bool:
    """Whether scaled channels of what it reads are scaled channels of what it answers."""
    operator, shape = operator_name(node), shape_of(node)
    if operator == "aten.add.Tensor":
        return len(sources) == 2 and not node.kwargs and all(shape_of(one) == shape for one in sources)
    if operator not in _HOMOGENEOUS or len(sources) != 1:
        return False
    read = shape_of(sources[0])
    if operator == "aten.mean.dim":
        axes = argument(node, 1, None, "dim")
        return isinstance(axes, (list, tuple)) and all(one % len(read) > 1 for one in axes)
    return operator not in _RESHAPING or (len(shape) > 1 and shape[:2] == read[:2])

"""Joining and dividing along an axis: concatenation, chunks, splits, slices."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node

from edgeprune.graph.capture import shape_of, tensor_shape
from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule, argument, unlabelled


def concatenate(flow: Flow, node: Node) -> Axes:
    """Labels are concatenated on the joined axis and equated on the others."""
    parts = node.args[0]
    assert isinstance(parts, (list, tuple))
    nodes = [part for part in parts if isinstance(part, Node)]
    joined = _axis(node, argument(node, 1, 0, "dim"), len(shape_of(node)))
    result: list[Labels | None] = []
    for axis in range(len(shape_of(node))):
        labels = [flow.of(part)[axis] for part in nodes]
        if axis == joined:
            result.append(_join(flow, node, nodes, labels, axis))
        else:
            result.append(_meet_all(flow, node, labels))
    return tuple(result)


def divide(flow: Flow, node: Node) -> list[Axes]:
    """chunk, split and split_with_sizes hand out consecutive runs of labels."""
    axes = flow.of(node.args[0])
    axis = _axis(node, argument(node, 2, 0, "dim"), len(axes))
    start, parts = 0, []
    for value in node.meta["val"]:
        size = tensor_shape(value)[axis]
        labels = axes[axis]
        part = None if labels is None or size is None else labels[start : start + size]
        parts.append((*axes[:axis], part, *axes[axis + 1 :]))
        start += size or 0
    return parts


def rewrite_divide(node: Node, narrowed: Narrowed) -> None:
    """Whatever the kind, the parts' new sizes are written out."""
    source = node.args[0]
    assert isinstance(source, Node)
    axis = _axis(node, argument(node, 2, 0, "dim"), len(shape_of(source)))
    if narrowed.of(source)[axis] is None:
        return
    sizes = [narrowed.count(part[axis], 0) for part in narrowed.parts(node)]
    node.target = torch.ops.aten.split_with_sizes.default
    node.args, node.kwargs = (source, sizes, axis), {}


def pick(flow: Flow, node: Node) -> Axes | list[Axes]:
    """`getitem` on the outputs of an operator with several."""
    source, index = node.args
    assert isinstance(source, Node)
    axes = flow.axes[source]
    assert isinstance(index, int)
    return axes[index] if isinstance(axes, list) else unlabelled(node)


def cut_out(flow: Flow, node: Node) -> Axes:
    """A slice takes a run of labels; a step other than one locks them."""
    axes = flow.of(node.args[0])
    axis, start, end, step = _slice_bounds(node)
    labels = axes[axis]
    if labels is None:
        return axes
    if step != 1:
        flow.lock(node, labels, "sliced with a step")
    return (*axes[:axis], labels[start:end:step], *axes[axis + 1 :])


def rewrite_cut_out(node: Node, narrowed: Narrowed) -> None:
    """Bounds move by the number of earlier indices that went."""
    source = node.args[0]
    assert isinstance(source, Node)
    axis, start, end, step = _slice_bounds(node)
    labels = narrowed.of(source)[axis]
    if labels is None or step != 1:
        return
    first = narrowed.count(labels[:start], start)
    last = narrowed.count(labels[:end], len(labels[:end]))
    node.args, node.kwargs = (source, axis, first, last), {}


def select(flow: Flow, node: Node) -> Axes:
    """One index is taken and the axis vanishes."""
    axes = flow.of(node.args[0])
    axis = _axis(node, node.args[1], len(axes))
    flow.lock(node, axes[axis], "one index of this axis is selected")
    return (*axes[:axis], *axes[axis + 1 :])


def _join(flow: Flow, node: Node, parts: list[Node], labels: list[Labels | None], axis: int) -> Labels | None:
    if all(one is None for one in labels):
        return None
    pieces = []
    for part, one in zip(parts, labels, strict=True):
        if one is None:
            one = flow.fresh(shape_of(part)[axis] or 0)
            flow.lock(node, one, "joined with an axis that cannot be cut")
        pieces.append(one)
    return np.concatenate(pieces)


def _meet_all(flow: Flow, node: Node, labels: list[Labels | None]) -> Labels | None:
    result = labels[0]
    for other in labels[1:]:
        if result is not None or other is not None:
            result = flow.equate(node, result, other)
    return result


def _axis(node: Node, axis: object, rank: int) -> int:
    assert isinstance(axis, int), node
    return axis % rank


def _slice_bounds(node: Node) -> tuple[int, int, int, int]:
    source = node.args[0]
    assert isinstance(source, Node)
    shape = shape_of(source)
    axis = _axis(node, argument(node, 1, 0, "dim"), len(shape))
    start, end = argument(node, 2, 0, "start"), argument(node, 3, None, "end")
    step = argument(node, 4, 1, "step")
    bounds = slice(start if isinstance(start, int) else 0, end if isinstance(end, int) else None).indices(
        shape[axis] or 0
    )
    return axis, bounds[0], bounds[1], step if isinstance(step, int) else 1


_DIVIDE = Rule(divide, rewrite_divide)

RULES = {
    "aten.cat.default": Rule(concatenate),
    "aten.chunk.default": _DIVIDE,
    "aten.split.Tensor": _DIVIDE,
    "aten.split.sizes": _DIVIDE,
    "aten.split_with_sizes.default": _DIVIDE,
    "_operator.getitem": Rule(pick),
    "aten.slice.Tensor": Rule(cut_out, rewrite_cut_out),
    "aten.select.int": Rule(select),
}

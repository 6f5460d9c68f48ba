"""Joining and dividing along an axis: concatenation, chunks, splits, slices, picked indices."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule, unlabelled
from edgeprune.graph.nodes import argument, attribute, set_argument, shape_of, tensor_shape


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
            result.append(flow.meet(node, labels))
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
    """A slice takes a run of labels, or every n-th of one."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes = flow.of(source)
    axis, start, end, step = _slice_bounds(node)
    labels = axes[axis]
    if labels is not None and shape_of(source)[axis] is None:
        # The batch is merged into this axis: only all of it may be taken.
        if node.meta["val"].shape != source.meta["val"].shape:
            flow.lock(node, labels, "part of an axis that the batch is merged into")
            labels = None
        return (*axes[:axis], labels, *axes[axis + 1 :])
    return axes if labels is None else (*axes[:axis], labels[start:end:step], *axes[axis + 1 :])


def rewrite_cut_out(node: Node, narrowed: Narrowed) -> None:
    """Bounds move by the number of earlier indices that went; a step may need the indices one by one."""
    source = node.args[0]
    assert isinstance(source, Node)
    axis, start, end, step = _slice_bounds(node)
    labels = narrowed.of(source)[axis]
    if labels is None or not narrowed.is_cut(labels) or shape_of(source)[axis] is None:
        return
    if step == 1:
        first = narrowed.count(labels[:start], start)
        last = narrowed.count(labels[:end], len(labels[:end]))
        node.args, node.kwargs = (source, axis, first, last), {}
    else:
        take(node, source, axis, surviving(labels, np.arange(start, end, step), narrowed))


def select(flow: Flow, node: Node) -> Axes:
    """One index is taken and the axis vanishes."""
    axes = flow.of(node.args[0])
    axis = _axis(node, node.args[1], len(axes))
    labels, index = axes[axis], node.args[2]
    if labels is not None:
        taken = labels[index : index + 1 or None] if isinstance(index, int) else labels
        flow.lock(node, taken, "this index of the axis is selected")
    return (*axes[:axis], *axes[axis + 1 :])


def rewrite_select(node: Node, narrowed: Narrowed) -> None:
    """The selected index moves by the number of earlier ones that went."""
    source, index = node.args[0], node.args[2]
    assert isinstance(source, Node)
    axes = narrowed.of(source)
    labels = axes[_axis(node, node.args[1], len(axes))]
    if labels is not None and isinstance(index, int):
        set_argument(node, 2, narrowed.count(labels[: index % len(labels)], 0))


def unbind(flow: Flow, node: Node) -> list[Axes]:
    """Every index of an axis becomes a value of its own."""
    axes = flow.of(node.args[0])
    axis = _axis(node, argument(node, 1, 0, "dim"), len(axes))
    flow.lock(node, axes[axis], "every index of this axis is a value of its own")
    return [(*axes[:axis], *axes[axis + 1 :]) for _ in node.meta["val"]]


def stack(flow: Flow, node: Node) -> Axes:
    """Values side by side along a new axis, which is never cut."""
    parts = node.args[0]
    assert isinstance(parts, (list, tuple))
    nodes = [part for part in parts if isinstance(part, Node)]
    rank = len(shape_of(node))
    new = _axis(node, argument(node, 1, 0, "dim"), rank)
    met = [flow.meet(node, [flow.of(part)[axis] for part in nodes]) for axis in range(rank - 1)]
    return (*met[:new], None, *met[new:])


def pick_many(flow: Flow, node: Node) -> Axes:
    """index_select: constant positions take their labels, others lock the axis."""
    axes = flow.of(node.args[0])
    return _picked(flow, node, axes, _axis(node, node.args[1], len(axes)), node.args[2])


def rewrite_pick_many(node: Node, narrowed: Narrowed) -> None:
    """The constant positions are counted anew."""
    source, positions = node.args[0], node.args[2]
    assert isinstance(source, Node)
    axes = narrowed.of(source)
    axis = _axis(node, node.args[1], len(axes))
    labels, found = axes[axis], _constant(node, positions)
    if labels is not None and narrowed.is_cut(labels) and found is not None:
        take(node, source, axis, surviving(labels, found % len(labels), narrowed))


def index(flow: Flow, node: Node) -> Axes:
    """`x[:, positions]`: one constant vector acts as index_select, other indices lock their axes."""
    axes = flow.of(node.args[0])
    given = node.args[1]
    assert isinstance(given, (list, tuple))
    places = [place for place, one in enumerate(given) if one is not None]
    operands = [given[place] for place in places]
    ranks = [len(shape_of(one)) for one in operands if isinstance(one, Node)]
    if len(places) == 1 and ranks == [1] and len(shape_of(node)) == len(axes):
        return _picked(flow, node, axes, places[0], operands[0])
    flow.lock_axes(node, [axes[place] for place in places], "picked by index")
    for one in operands:
        if isinstance(one, Node):
            flow.lock_axes(node, flow.of(one), "positions to pick")
    if places != list(range(places[0], places[0] + len(places))):
        flow.lock_all(node, node.all_input_nodes, "picked by indices of several axes")
        return unlabelled(node)
    new = len(shape_of(node)) - len(axes) + len(places)
    return (*axes[: places[0]], *(None,) * new, *axes[places[-1] + 1 :])


def rewrite_index(node: Node, narrowed: Narrowed) -> None:
    """As index_select with counted positions, where the axis was cut."""
    source, given = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(given, (list, tuple))
    axes = narrowed.of(source)
    for axis, positions in enumerate(given):
        labels, found = axes[axis], _constant(node, positions)
        if labels is not None and narrowed.is_cut(labels) and found is not None and found.ndim == 1:
            take(node, source, axis, surviving(labels, found % len(labels), narrowed))


def _picked(flow: Flow, node: Node, axes: Axes, axis: int, positions: object) -> Axes:
    labels, found = axes[axis], _constant(node, positions)
    if isinstance(positions, Node):
        flow.lock_axes(node, flow.of(positions), "positions to pick")
    if labels is None or found is None:
        flow.lock(node, labels, "picked by index")
        return (*axes[:axis], None, *axes[axis + 1 :])
    return (*axes[:axis], labels[found % len(labels)], *axes[axis + 1 :])


def _constant(node: Node, positions: object) -> Labels | None:
    """The value of a buffer of positions; None for what is computed, or a mask."""
    module = node.graph.owning_module
    if not isinstance(positions, Node) or positions.op != "get_attr" or module is None:
        return None
    value = attribute(module, str(positions.target))
    if value.dtype not in {torch.int64, torch.int32} or value.is_meta:
        return None
    return np.asarray(value.numpy(), dtype=np.int64)


def surviving(labels: Labels, positions: Labels, narrowed: Narrowed) -> Labels:
    """Those positions that stay, in the numbering after the cut."""
    kept = narrowed.kept[labels]
    return (np.cumsum(kept) - 1)[positions[kept[positions]]]


def take(node: Node, source: Node, axis: int, positions: Labels) -> None:
    """Make a node an index_select of written-out positions."""
    module = node.graph.owning_module
    assert module is not None
    name = f"{node.name}_positions"
    module.register_buffer(name, torch.from_numpy(positions))
    with node.graph.inserting_before(node):
        constant = node.graph.get_attr(name)
    node.target = torch.ops.aten.index_select.default
    node.args, node.kwargs = (source, axis, constant), {}


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
    "aten.tensor_split.sections": _DIVIDE,
    "aten.tensor_split.indices": _DIVIDE,
    "_operator.getitem": Rule(pick),
    "aten.slice.Tensor": Rule(cut_out, rewrite_cut_out),
    "aten.select.int": Rule(select, rewrite_select),
    "aten.unbind.int": Rule(unbind),
    "aten.stack.default": Rule(stack),
    "aten.index_select.default": Rule(pick_many, rewrite_pick_many),
    "aten.index.Tensor": Rule(index, rewrite_index),
}

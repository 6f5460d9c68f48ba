"""Axes split, merge, move, appear and vanish: index arithmetic on labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.fx import Node

from edgeprune.graph.capture import shape_of, single_sizes
from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule, set_argument

Shape = tuple[int, ...]


def reshape(flow: Flow, node: Node) -> Axes:
    """view, reshape, flatten, unflatten: runs of axes are merged or split, each run on its own."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes, before, after = flow.of(source), _sizes(source), _sizes(node)
    result: list[Labels | None] = [None] * len(after)
    for taken, made in _runs(before, after):
        labelled = [axis for axis in taken if axes[axis] is not None]
        if not labelled:
            continue
        if len(taken) == len(made) == 1:
            result[made[0]] = axes[taken[0]]
        elif len(made) == 1 and len(labelled) == 1:
            result[made[0]] = _merge(flow, node, axes, before, taken)
        elif len(taken) == 1:
            axis, labels = _split(flow, node, axes[taken[0]], [after[one] for one in made])
            result[made[axis]] = labels
        else:
            for axis in labelled:
                flow.lock(node, axes[axis], "reshaped together with other axes")
    return tuple(result)


def rewrite_reshape(node: Node, narrowed: Narrowed) -> None:
    """Written-out sizes follow the cut."""
    sizes = node.args[1]
    assert isinstance(sizes, (list, tuple))
    axes = narrowed.of(node)
    set_argument(
        node,
        1,
        [
            narrowed.count(labels, size) if isinstance(size, int) and size >= 0 else size
            for labels, size in zip(axes, sizes, strict=True)
        ],
    )


def rewrite_unflatten(node: Node, narrowed: Narrowed) -> None:
    """The sizes of the new axes follow the cut."""
    axis, sizes = node.args[1], node.args[2]
    assert isinstance(axis, int)
    assert isinstance(sizes, (list, tuple))
    axes = narrowed.of(node)
    first = axis % (len(axes) - len(sizes) + 1)
    made = axes[first : first + len(sizes)]
    new = [
        narrowed.count(labels, size) if isinstance(size, int) and size >= 0 else size
        for labels, size in zip(made, sizes, strict=True)
    ]
    set_argument(node, 2, new)


def permute(flow: Flow, node: Node) -> Axes:
    """Axes in a new order."""
    axes, order = flow.of(node.args[0]), node.args[1]
    assert isinstance(order, (list, tuple))
    return tuple(axes[axis] for axis in order if isinstance(axis, int))


def transpose(flow: Flow, node: Node) -> Axes:
    """Two axes change places."""
    axes = list(flow.of(node.args[0]))
    first, second = node.args[1], node.args[2]
    assert isinstance(first, int)
    assert isinstance(second, int)
    axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


def transpose_matrix(flow: Flow, node: Node) -> Axes:
    """`x.t()`: the axes in reverse."""
    return flow.of(node.args[0])[::-1]


def unsqueeze(flow: Flow, node: Node) -> Axes:
    """A new axis of size one."""
    axes = list(flow.of(node.args[0]))
    place = node.args[1]
    assert isinstance(place, int)
    axes.insert(place % (len(axes) + 1), None)
    return tuple(axes)


def squeeze(flow: Flow, node: Node) -> Axes:
    """Axes of size one vanish; which ones is read off the shapes."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes, shape = flow.of(source), shape_of(source)
    which = node.args[1] if len(node.args) > 1 else list(range(len(axes)))
    chosen = {
        axis % len(axes)
        for axis in (which if isinstance(which, (list, tuple)) else [which])
        if isinstance(axis, int)
    }
    gone = {axis for axis in chosen if shape[axis] == 1}
    for axis in gone:
        flow.lock(node, axes[axis], "an axis of size one")
    return tuple(labels for axis, labels in enumerate(axes) if axis not in gone)


def expand(flow: Flow, node: Node) -> Axes:
    """Axes of size one are repeated; the repeated indices may be cut like any other."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes, before, after = flow.of(source), shape_of(source), shape_of(node)
    new = len(after) - len(before)
    result: list[Labels | None] = []
    for axis, size in enumerate(after):
        own = axis - new
        if own >= 0 and before[own] == size:
            result.append(axes[own])
        else:
            if own >= 0:
                flow.lock(node, axes[own], "one index that is repeated for all others")
            result.append(None if size is None else flow.fresh(size))
    return tuple(result)


# Stands in for the batch: a prime larger than any axis, so that no product of sizes equals it by chance.
_BATCH = 2**31 - 1


def _sizes(node: Node) -> tuple[int, ...]:
    """Sizes of a node's value with the batch replaced by its stand-in."""
    value = node.meta["val"]
    at_one = single_sizes(value)
    return tuple(
        size * (1 if isinstance(own, int) else _BATCH) for own, size in zip(value.shape, at_one, strict=True)
    )


def _runs(before: Shape, after: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """Pair up the shortest runs of axes with equal products."""
    left = right = 0
    while left < len(before) and right < len(after):
        taken, made = [left], [right]
        products = [before[left], after[right]]
        left, right = left + 1, right + 1
        while products[0] != products[1]:
            if products[0] < products[1]:
                products[0] *= before[left]
                taken.append(left)
                left += 1
            else:
                products[1] *= after[right]
                made.append(right)
                right += 1
        # Trailing axes of size one belong to the run before them.
        while left < len(before) and before[left] == 1 and (right == len(after) or after[right] != 1):
            taken.append(left)
            left += 1
        while right < len(after) and after[right] == 1 and (left == len(before) or before[left] != 1):
            made.append(right)
            right += 1
        yield taken, made


def _merge(flow: Flow, node: Node, axes: Axes, shape: Shape, taken: list[int]) -> Labels | None:
    """Flatten a run with one labelled axis: its labels repeat along the others."""
    if any(shape[axis] % _BATCH == 0 for axis in taken):
        for axis in taken:
            flow.lock(node, axes[axis], "merged with the batch")
        return None
    labels = np.zeros([shape[axis] for axis in taken], dtype=np.int64)
    for place, axis in enumerate(taken):
        one = axes[axis]
        if one is not None:
            labels += one.reshape([-1 if other == place else 1 for other in range(len(taken))])
    return labels.ravel()


def _split(flow: Flow, node: Node, labels: Labels | None, sizes: list[int]) -> tuple[int, Labels]:
    """Split one axis: the longest part carries the labels, equal along the other parts."""
    assert labels is not None
    block = labels.reshape(sizes)
    axis = int(np.argmax(block.shape))
    rows = np.moveaxis(block, axis, -1).reshape(-1, block.shape[axis])
    for row in rows[1:]:
        flow.equate(node, rows[0], row)
    return axis, np.ascontiguousarray(rows[0])


RULES = {
    "aten.view.default": Rule(reshape, rewrite_reshape),
    "aten.reshape.default": Rule(reshape, rewrite_reshape),
    "aten._unsafe_view.default": Rule(reshape, rewrite_reshape),
    "aten.flatten.using_ints": Rule(reshape),
    "aten.unflatten.int": Rule(reshape, rewrite_unflatten),
    "aten.permute.default": Rule(permute),
    "aten.transpose.int": Rule(transpose),
    "aten.t.default": Rule(transpose_matrix),
    "aten.numpy_T.default": Rule(transpose_matrix),
    "aten.unsqueeze.default": Rule(unsqueeze),
    "aten.squeeze.dim": Rule(squeeze),
    "aten.squeeze.dims": Rule(squeeze),
    "aten.squeeze.default": Rule(squeeze),
    "aten.expand.default": Rule(expand, rewrite_reshape),
}

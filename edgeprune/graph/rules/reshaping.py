"""Axes split, merge, move, appear and vanish: index arithmetic on labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule
from edgeprune.graph.nodes import set_argument, shape_of, single_sizes
from edgeprune.graph.rules.shuffling import label_written_shuffle, rewrite_written_shuffle

Shape = tuple[int, ...]


def reshape(flow: Flow, node: Node) -> Axes:
    """view, reshape, flatten, unflatten: runs of axes are merged or split, each run on its own.

    Sizes are those of a batch of one; the batch may be part of a run as its outermost axis.
    """
    shuffle = label_written_shuffle(flow, node)
    if shuffle is not None:
        return shuffle
    source = node.args[0]
    assert isinstance(source, Node)
    axes, before, after = flow.of(source), _sizes(source), _sizes(node)
    result: list[Labels | None] = [None] * len(after)
    for taken, made in _runs(before, after):
        if all(axes[axis] is None for axis in taken):
            continue
        if not (_is_batch_outermost(before, taken) and _is_batch_outermost(after, made)):
            flow.lock_axes(node, [axes[axis] for axis in taken], "merged with the batch")
            continue
        flat = flow.merge([axes[axis] for axis in taken], [_single(before[axis]) for axis in taken])
        assert flat is not None
        for axis, labels in zip(made, flow.divide(flat, [_single(after[one]) for one in made]), strict=True):
            result[axis] = labels
    return tuple(result)


def rewrite_reshape(node: Node, narrowed: Narrowed) -> None:
    """Written-out sizes follow the cut."""
    if rewrite_written_shuffle(node, narrowed):
        return
    set_argument(node, 1, _rewritten(node.args[1], narrowed.of(node), narrowed))


def rewrite_flatten(node: Node, narrowed: Narrowed) -> None:
    """Nothing is written out but where a flatten ends a shuffle."""
    rewrite_written_shuffle(node, narrowed)


def rewrite_unflatten(node: Node, narrowed: Narrowed) -> None:
    """The sizes of the new axes follow the cut."""
    axis, sizes = node.args[1], node.args[2]
    assert isinstance(axis, int)
    assert isinstance(sizes, (list, tuple))
    axes = narrowed.of(node)
    first = axis % (len(axes) - len(sizes) + 1)
    set_argument(node, 2, _rewritten(sizes, axes[first : first + len(sizes)], narrowed))


def _rewritten(sizes: object, axes: Sequence[Labels | None], narrowed: Narrowed) -> list[object]:
    """Fixed sizes are counted anew; a size computed from the batch is left to be inferred."""
    assert isinstance(sizes, (list, tuple))
    result: list[object] = []
    for labels, size in zip(axes, sizes, strict=True):
        if isinstance(size, int):
            result.append(narrowed.count(labels, size) if size >= 0 else size)
        else:
            result.append(-1 if narrowed.is_cut(labels) else size)
    return result


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


def transpose_last(flow: Flow, node: Node) -> Axes:
    """`x.mT`: the last two axes change places."""
    axes = flow.of(node.args[0])
    return (*axes[:-2], axes[-1], axes[-2])


def move_axis(flow: Flow, node: Node) -> Axes:
    """Some axes go to other places, the rest close up in order."""
    axes = flow.of(node.args[0])
    moved, places = (
        [
            value % len(axes)
            for value in (given if isinstance(given, (list, tuple)) else [given])
            if isinstance(value, int)
        ]
        for given in node.args[1:3]
    )
    rest = iter([axis for axis in range(len(axes)) if axis not in moved])
    order = [moved[places.index(place)] if place in places else next(rest) for place in range(len(axes))]
    return tuple(axes[axis] for axis in order)


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


def _single(size: int) -> int:
    """A size for a batch of one."""
    return size // _BATCH if size % _BATCH == 0 else size


def _is_batch_outermost(shape: Shape, run: Sequence[int]) -> bool:
    """Whether no axis of the run lies outside the batch, so that a batch of one shows the pattern."""
    batch = next((place for place, axis in enumerate(run) if shape[axis] % _BATCH == 0), 0)
    return all(shape[axis] == 1 for axis in run[:batch])


RULES = {
    "aten.view.default": Rule(reshape, rewrite_reshape),
    "aten.reshape.default": Rule(reshape, rewrite_reshape),
    "aten._unsafe_view.default": Rule(reshape, rewrite_reshape),
    "aten.flatten.using_ints": Rule(reshape, rewrite_flatten),
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
    "aten.expand_as.default": Rule(expand),
    "aten.view_as.default": Rule(reshape),
    "aten.reshape_as.default": Rule(reshape),
    "aten.movedim.int": Rule(move_axis),
    "aten.movedim.intlist": Rule(move_axis),
    "aten.swapaxes.default": Rule(transpose),
    "aten.adjoint.default": Rule(transpose_last),
    "aten.mT.default": Rule(transpose_last),
}

"""Channel shuffles: channels in another order, by an operator or as two views around a transpose.

Any channel may go. What is left is still a shuffle where every run lost the same places, or whole runs
went; otherwise it becomes the written-out order of the channels that stay.
"""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule
from edgeprune.graph.nodes import operator_name, set_argument, shape_of
from edgeprune.graph.rules.joining import surviving, take


def shuffle_channels(flow: Flow, node: Node) -> Axes:
    """channel_shuffle: (groups, each) becomes (each, groups)."""
    axes, groups = flow.of(node.args[0]), node.args[1]
    assert isinstance(groups, int)
    channels = axes[1]
    return axes if channels is None else (axes[0], _shuffled(channels, groups), *axes[2:])


def rewrite_shuffle_channels(node: Node, narrowed: Narrowed) -> None:
    """As many groups as are left, or the order written out."""
    source, groups = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(groups, int)
    channels = narrowed.of(source)[1]
    if channels is None or not narrowed.is_cut(channels):
        return
    order, left = _remaining(channels, groups, narrowed)
    if left:
        set_argument(node, 1, left)
    else:
        take(node, source, 1, order)


def label_written_shuffle(flow: Flow, node: Node) -> Axes | None:
    """The axes of a view that begins or ends a shuffle; None for any other."""
    first = _beginning(node)
    if first is not None:
        source, axis, groups = _split(first)
        axes = flow.of(source)
        channels = axes[axis]
        return None if channels is None else (*axes[:axis], _shuffled(channels, groups), *axes[axis + 1 :])
    last = _ending(node)
    if last is None:
        return None
    source, axis, _ = _split(node)
    axes = flow.of(source)
    channels = axes[axis]
    if channels is None:
        return None
    while last is not node:
        # Between the views the channels lie in two axes, neither of which has labels of its own.
        last = last.all_input_nodes[0]
        flow.notes[last] = channels
    return (*axes[:axis], None, None, *axes[axis + 1 :])


def rewrite_written_shuffle(node: Node, narrowed: Narrowed) -> bool:
    """Whether a view ends a shuffle that a cut makes another: then all of it is rewritten."""
    first = _beginning(node)
    if first is None:
        return False
    source, axis, groups = _split(first)
    channels = narrowed.of(source)[axis]
    if channels is None or not narrowed.is_cut(channels):
        return False
    order, left = _remaining(channels, groups, narrowed)
    if not left:
        take(node, source, axis, order)
        return True
    sizes, place = (first.args[2], 0) if operator_name(first) in _UNFLATTEN else (first.args[1], axis)
    assert isinstance(sizes, (list, tuple))
    written = [*sizes[:place], left, len(order) // left, *sizes[place + 2 :]]
    set_argument(first, 2 if operator_name(first) in _UNFLATTEN else 1, written)
    return False


def _shuffled(labels: Labels, groups: int) -> Labels:
    return np.ascontiguousarray(labels.reshape(groups, -1).T).ravel()


def _remaining(channels: Labels, groups: int, narrowed: Narrowed) -> tuple[Labels, int]:
    """The order of the channels that stay, and the groups by which a shuffle makes it; 0 where none does."""
    order = surviving(channels, _shuffled(np.arange(len(channels)), groups), narrowed)
    # In a shuffle the second channel to come out is the first of the second group.
    each = int(order[1]) if len(order) > 1 else 1
    left = len(order) // each if each and len(order) % each == 0 else 0
    return order, left if left and np.array_equal(order, _shuffled(np.arange(len(order)), left)) else 0


_UNFLATTEN = {"aten.unflatten.int"}
_BEGINNINGS = {"aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", *_UNFLATTEN}
_ENDINGS = {"aten.view.default", "aten.reshape.default", "aten.flatten.using_ints"}
_COPIES = {"aten.contiguous.default", "aten.clone.default"}
_SWAPS = {"aten.transpose.int", "aten.permute.default"}


def _ending(first: Node) -> Node | None:
    """The view that ends the shuffle which a view begins."""
    node = first
    for _ in range(4):
        if len(node.users) != 1:
            return None
        (node,) = node.users
        if _beginning(node) is first:
            return node
    return None


def _beginning(last: Node) -> Node | None:
    """The view that begins the shuffle which a view ends."""
    node = last.args[0] if operator_name(last) in _ENDINGS else None
    while isinstance(node, Node) and operator_name(node) in _COPIES and len(node.users) == 1:
        node = node.args[0]
    if not isinstance(node, Node) or operator_name(node) not in _SWAPS or len(node.users) != 1:
        return None
    first = node.args[0]
    if not isinstance(first, Node) or len(first.users) != 1:
        return None
    if operator_name(first) not in _BEGINNINGS or not isinstance(first.args[0], Node):
        return None
    before, between = shape_of(first.args[0]), shape_of(first)
    if before != shape_of(last) or len(between) != len(before) + 1:
        return None
    axis = next((place for place, size in enumerate(before) if size != between[place]), len(before))
    is_split = axis < len(before) and (before[axis], *before[axis + 1 :]) == (
        (between[axis] or 0) * (between[axis + 1] or 0),
        *between[axis + 2 :],
    )
    return first if is_split and _swaps(node, axis, len(between)) else None


def _split(first: Node) -> tuple[Node, int, int]:
    """What a shuffle takes, the axis of the channels, and how many groups they are in."""
    source = first.args[0]
    assert isinstance(source, Node)
    between = shape_of(first)
    axis = next(place for place, size in enumerate(shape_of(source)) if size != between[place])
    return source, axis, between[axis] or 0


def _swaps(node: Node, axis: int, rank: int) -> bool:
    """Whether a node swaps an axis with the one behind it, and moves no other."""
    if operator_name(node) == "aten.transpose.int":
        given = [place % rank for place in node.args[1:3] if isinstance(place, int)]
        return sorted(given) == [axis, axis + 1]
    order = node.args[1]
    assert isinstance(order, (list, tuple))
    swapped = [*range(axis), axis + 1, axis, *range(axis + 2, rank)]
    return [place % rank for place in order if isinstance(place, int)] == swapped


_SHUFFLE = Rule(shuffle_channels, rewrite_shuffle_channels)

RULES = {
    "aten.channel_shuffle.default": _SHUFFLE,
    "aten.native_channel_shuffle.default": _SHUFFLE,
}

"""Indices in another order or number: pixel shuffles, rolls, repeats, gated halves."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Rule
from edgeprune.graph.nodes import argument


def shuffle_pixels(flow: Flow, node: Node) -> Axes:
    """pixel_shuffle: each run of factor squared channels becomes one."""
    axes, factor = flow.of(node.args[0]), node.args[1]
    assert isinstance(factor, int)
    flow.lock_axes(node, axes[-2:], "moved between space and channels")
    channels = axes[-3]
    if channels is not None:
        parts = channels.reshape(-1, factor * factor).T
        channels = flow.meet(node, list(parts))
    return (*axes[:-3], channels, None, None)


def unshuffle_pixels(flow: Flow, node: Node) -> Axes:
    """pixel_unshuffle: each channel becomes a run of factor squared."""
    axes, factor = flow.of(node.args[0]), node.args[1]
    assert isinstance(factor, int)
    flow.lock_axes(node, axes[-2:], "moved between space and channels")
    channels = axes[-3]
    return (*axes[:-3], None if channels is None else np.repeat(channels, factor * factor), None, None)


def gated_linear_unit(flow: Flow, node: Node) -> Axes:
    """GLU: the second half of an axis gates the first."""
    axes = flow.of(node.args[0])
    given = argument(node, 1, -1, "dim")
    assert isinstance(given, int)
    axis = given % len(axes)
    labels = axes[axis]
    if labels is not None:
        labels = flow.equate(node, *np.split(labels, 2))
    return (*axes[:axis], labels, *axes[axis + 1 :])


def roll(flow: Flow, node: Node) -> Axes:
    """Rolled axes cannot be cut; without named axes all of them are rolled as one."""
    axes = flow.of(node.args[0])
    given = argument(node, 2, [], "dims")
    assert isinstance(given, (list, tuple))
    rolled = [axis % len(axes) for axis in given if isinstance(axis, int)] or range(len(axes))
    flow.lock_axes(node, [axes[axis] for axis in rolled], "rolled along this axis")
    return axes


def flip(flow: Flow, node: Node) -> Axes:
    """Axes in the reverse order of their indices."""
    axes = list(flow.of(node.args[0]))
    given = node.args[1]
    assert isinstance(given, (list, tuple))
    for axis in given:
        assert isinstance(axis, int)
        labels = axes[axis]
        axes[axis] = None if labels is None else np.ascontiguousarray(labels[::-1])
    return tuple(axes)


def repeat(flow: Flow, node: Node) -> Axes:
    """`x.repeat(...)`: whole axes again and again, perhaps along new ones in front."""
    axes, times = flow.of(node.args[0]), node.args[1]
    assert isinstance(times, (list, tuple))
    times = [*[1] * (len(axes) - len(times)), *times]
    new = len(times) - len(axes)
    result: list[Labels | None] = [None] * new
    for labels, count in zip(axes, times[new:], strict=True):
        if not isinstance(count, int):
            flow.lock(node, labels, "repeated as often as the batch is large")
            result.append(None)
        else:
            result.append(None if labels is None else np.tile(labels, count))
    return tuple(result)


def repeat_each(flow: Flow, node: Node) -> Axes:
    """`x.repeat_interleave(n, dim)`: every index n times in a row."""
    axes = list(flow.of(node.args[0]))
    count, axis = node.args[1], argument(node, 2, None, "dim")
    if not isinstance(count, int) or not isinstance(axis, int):
        flow.lock_axes(node, axes, "repeated with all other axes")
        return (None,)
    labels = axes[axis]
    axes[axis] = None if labels is None else np.repeat(labels, count)
    return tuple(axes)


RULES = {
    "aten.pixel_shuffle.default": Rule(shuffle_pixels),
    "aten.pixel_unshuffle.default": Rule(unshuffle_pixels),
    "aten.glu.default": Rule(gated_linear_unit),
    "aten.roll.default": Rule(roll),
    "aten.flip.default": Rule(flip),
    "aten.repeat.default": Rule(repeat),
    "aten.tile.default": Rule(repeat),
    "aten.repeat_interleave.self_int": Rule(repeat_each),
}

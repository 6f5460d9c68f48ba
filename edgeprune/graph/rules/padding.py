"""Padding: new indices of a cuttable axis are units of their own, cut by padding less."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Rule
from edgeprune.graph.nodes import argument, set_argument


def pad(flow: Flow, node: Node) -> Axes:
    """Amounts come in pairs from the last axis backwards; only constants are padded with."""
    axes = list(flow.of(node.args[0]))
    constant = argument(node, 2, "constant", "mode") == "constant" or "constant" in str(node.target)
    for axis, (before, after) in _amounts(node, len(axes)).items():
        labels = axes[axis]
        if labels is None:
            continue
        if not constant or min(before, after) < 0:
            flow.lock(node, labels, "padded by its own values, or cropped")
            axes[axis] = None
            continue
        axes[axis] = np.concatenate([flow.fresh(before), labels, flow.fresh(after)])
    return tuple(axes)


def rewrite_pad(node: Node, narrowed: Narrowed) -> None:
    """Pad by as many indices as are left on each side."""
    axes = narrowed.of(node)
    amounts = node.args[1]
    assert isinstance(amounts, (list, tuple))
    result = list(amounts)
    for axis, (before, after) in _amounts(node, len(axes)).items():
        labels = axes[axis]
        if labels is not None:
            pair = 2 * (len(axes) - 1 - axis)
            result[pair] = narrowed.count(labels[:before], before)
            result[pair + 1] = narrowed.count(_last(labels, after), after)
    set_argument(node, 1, result)


def _amounts(node: Node, rank: int) -> dict[int, tuple[int, int]]:
    """The (before, after) amounts of each padded axis."""
    flat = node.args[1]
    assert isinstance(flat, (list, tuple))
    pairs = [
        (before, after)
        for before, after in zip(flat[::2], flat[1::2], strict=True)
        if isinstance(before, int) and isinstance(after, int)
    ]
    return {rank - 1 - place: pair for place, pair in enumerate(pairs) if pair != (0, 0)}


def _last(labels: Labels, count: int) -> Labels:
    return labels[len(labels) - count :]


RULES = {
    "aten.pad.default": Rule(pad, rewrite_pad),
    "aten.constant_pad_nd.default": Rule(pad, rewrite_pad),
}

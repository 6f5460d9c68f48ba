"""Convolutions and linear layers: end the labels of their input, start those of their output."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.flow import (
    COMPUTED_WEIGHT,
    PLAIN_WEIGHT,
    Axes,
    Flow,
    Labels,
    Narrowed,
    Product,
    Rule,
    unlabelled,
)
from edgeprune.graph.nodes import argument, set_argument

_BETWEEN = "the layer works along this axis"


def convolution(flow: Flow, node: Node) -> Axes:
    """Weight (out, in / groups, *kernel) on (batch, in, *space) gives (batch, out, *space)."""
    source, weight = node.args[0], node.args[1]
    axes, (out, within) = flow.of(source), flow.of(weight)[:2]
    channels, groups = axes[1], _groups(node)
    if out is None:
        return _computed_weight(flow, node)
    flow.lock_axes(node, (axes[0], *axes[2:]), _BETWEEN)
    # A plain depthwise convolution makes no new channels: it filters those it is given.
    depthwise = within is not None and len(within) == 1 and groups == len(out)
    flow.play(weight, 0, "attached" if depthwise and groups > 1 else "producer")
    if groups == 1:
        flow.equate(node, channels, within)
        flow.consume(node, weight, 1, source, 1)
    elif within is not None and len(within) == 1:
        _couple_depthwise(flow, node, channels, out)
    else:
        whole = _whole_groups(flow, node, groups)
        _within_groups(flow, node, channels, whole, within)
        _within_groups(flow, node, out, whole)
        flow.consume(node, weight, 1, source, 1)
    _attach_bias(flow, node, out)
    return (None, out, *unlabelled(node)[2:])


def transposed_convolution(flow: Flow, node: Node) -> Axes:
    """Weight (in, out / groups, *kernel) on (batch, in, *space) gives (batch, out, *space)."""
    source, weight = node.args[0], node.args[1]
    axes, (within, out) = flow.of(source), flow.of(weight)[:2]
    groups = _groups(node)
    if out is None:
        return _computed_weight(flow, node)
    flow.lock_axes(node, (axes[0], *axes[2:]), _BETWEEN)
    flow.equate(node, axes[1], within)
    flow.consume(node, weight, 0, source, 1)
    flow.play(weight, 1, "producer")
    if groups > 1:
        whole = _whole_groups(flow, node, groups)
        _within_groups(flow, node, within, whole)
        flat = flow.fresh(groups * len(out))
        _within_groups(flow, node, flat, whole, out)
        out = flat
    _attach_bias(flow, node, out)
    return (None, out, *unlabelled(node)[2:])


def linear(flow: Flow, node: Node) -> Axes:
    """Weight (out, in) on (..., in) gives (..., out)."""
    source, weight = node.args[0], node.args[1]
    axes, (out, within) = flow.of(source), flow.of(weight)
    if out is None:
        return _computed_weight(flow, node)
    flow.play(weight, 0, "producer")
    flow.equate(node, axes[-1], within)
    flow.consume(node, weight, 1, source, len(axes) - 1)
    _attach_bias(flow, node, out)
    return (*axes[:-1], out)


def rewrite_groups(node: Node, narrowed: Narrowed) -> None:
    """As many groups as are left; a depthwise convolution has one for each channel."""
    groups = _groups(node)
    weight = node.args[1]
    if groups == 1 or not isinstance(weight, Node):
        return
    left = groups
    if node.name in narrowed.notes:
        left = narrowed.count(narrowed.notes[node.name], groups)
    else:
        (out,) = narrowed.of(weight)[:1]
        if out is not None:
            left = narrowed.count(out, len(out)) // (len(out) // groups)
    if left != groups:
        set_argument(node, 6, left)


def _groups(node: Node) -> int:
    groups = argument(node, 6, 1, "groups")
    assert isinstance(groups, int)
    return groups


def _computed_weight(flow: Flow, node: Node) -> Axes:
    """A weight whose channels were lost on the way: nothing passes."""
    flow.lock_all(node, node.all_input_nodes, COMPUTED_WEIGHT, PLAIN_WEIGHT)
    return unlabelled(node)


def _couple_depthwise(flow: Flow, node: Node, channels: Labels | None, out: Labels) -> None:
    """Input channel i and its outputs i*m .. i*m+m-1 go together."""
    if channels is None:
        flow.lock(node, out, "depthwise convolution of an axis that cannot be cut")
        return
    for column in out.reshape(len(channels), -1).T:
        flow.equate(node, channels, column)


def _whole_groups(flow: Flow, node: Node, groups: int) -> Labels:
    whole = flow.fresh(groups)
    flow.mark(whole, "groups")
    flow.notes[node] = whole
    return whole


def _within_groups(
    flow: Flow, node: Node, channels: Labels | None, whole: Labels, within: Labels | None = None
) -> None:
    """A channel stays while its group stays and, alike in all groups, its place within them."""
    if channels is None:
        flow.lock(node, within, "grouped convolution of an axis that cannot be cut")
        flow.lock(node, whole, "grouped convolution of an axis that cannot be cut")
        return
    flat = channels.reshape(len(whole), -1)
    if flat.shape[1] == 1:
        flow.equal.append((channels, whole))
        return
    places = flow.fresh(flat.shape[1]) if within is None else within
    flow.products.append(Product(flat, (whole, places), lanes=True))


def _attach_bias(flow: Flow, node: Node, out: Labels) -> None:
    bias = argument(node, 2, None, "bias")
    if isinstance(bias, Node):
        flow.equate(node, out, flow.of(bias)[0])


_CONVOLUTION = Rule(convolution, rewrite_groups)
_TRANSPOSED = Rule(transposed_convolution, rewrite_groups)

RULES = {
    "aten.conv1d.default": _CONVOLUTION,
    "aten.conv2d.default": _CONVOLUTION,
    "aten.conv3d.default": _CONVOLUTION,
    "aten.conv1d.padding": _CONVOLUTION,
    "aten.conv2d.padding": _CONVOLUTION,
    "aten.conv3d.padding": _CONVOLUTION,
    "aten.conv_transpose1d.default": _TRANSPOSED,
    "aten.conv_transpose2d.input": _TRANSPOSED,
    "aten.conv_transpose3d.input": _TRANSPOSED,
    "aten.linear.default": Rule(linear),
}

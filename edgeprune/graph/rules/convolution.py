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
    Rule,
    argument,
    set_argument,
    unlabelled,
)


def convolution(flow: Flow, node: Node) -> Axes:
    """Weight (out, in / groups, *kernel) on (batch, in, *space) gives (batch, out, *space)."""
    source, weight = node.args[0], node.args[1]
    channels, (out, within) = flow.of(source)[1], flow.of(weight)[:2]
    groups = _groups(node)
    if out is None:
        return _computed_weight(flow, node)
    # A plain depthwise convolution makes no new channels: it filters those it is given.
    depthwise = within is not None and len(within) == 1 and groups == len(out)
    flow.play(weight, 0, "attached" if depthwise and groups > 1 else "producer")
    if groups == 1:
        flow.equate(node, channels, within)
        flow.consume(node, weight, 1, source, 1)
    elif within is not None and len(within) == 1:
        _couple_depthwise(flow, node, channels, out)
    else:
        _couple_groups(flow, node, channels, within, groups)
        _equate_rows(flow, node, out.reshape(groups, -1))
        flow.consume(node, weight, 1, source, 1)
    _attach_bias(flow, node, out)
    return (None, out, *unlabelled(node)[2:])


def transposed_convolution(flow: Flow, node: Node) -> Axes:
    """Weight (in, out / groups, *kernel); only the ungrouped kind is cut."""
    source, weight = node.args[0], node.args[1]
    channels, (within, out) = flow.of(source)[1], flow.of(weight)[:2]
    groups = argument(node, 6, 1, "groups")
    if out is None:
        return _computed_weight(flow, node)
    flow.equate(node, channels, within)
    flow.consume(node, weight, 0, source, 1)
    if groups != 1:
        flow.lock(node, channels, "input of a grouped transposed convolution")
        flow.lock(node, out, "output of a grouped transposed convolution")
        return unlabelled(node)
    flow.play(weight, 1, "producer")
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
    """A depthwise convolution has as many groups as channels left; others keep theirs."""
    groups = _groups(node)
    weight = node.args[1]
    if groups == 1 or not isinstance(weight, Node):
        return
    out, within = narrowed.of(weight)[:2]
    if within is not None and len(within) == 1:
        assert out is not None
        multiplier = len(out) // groups
        set_argument(node, 6, narrowed.count(out, len(out)) // multiplier)


def _groups(node: Node) -> int:
    groups = argument(node, 6, 1, "groups")
    assert isinstance(groups, int)
    return groups


def _computed_weight(flow: Flow, node: Node) -> Axes:
    """A weight whose channels were lost on the way (weight norm, a product): nothing passes."""
    flow.lock_all(node, node.all_input_nodes, COMPUTED_WEIGHT, PLAIN_WEIGHT)
    return unlabelled(node)


def _couple_depthwise(flow: Flow, node: Node, channels: Labels | None, out: Labels) -> None:
    """Input channel i and its outputs i*m .. i*m+m-1 go together."""
    if channels is None:
        flow.lock(node, out, "depthwise convolution of an axis that cannot be cut")
        return
    for column in out.reshape(len(channels), -1).T:
        flow.equate(node, channels, column)


def _couple_groups(
    flow: Flow, node: Node, channels: Labels | None, within: Labels | None, groups: int
) -> None:
    """The same positions are cut in every group, so that groups stay equal in width."""
    if channels is None:
        flow.lock(node, within, "grouped convolution of an axis that cannot be cut")
        return
    rows = channels.reshape(groups, -1)
    for row in rows:
        flow.equate(node, row, within)


def _equate_rows(flow: Flow, node: Node, rows: Labels) -> None:
    for row in rows[1:]:
        flow.equate(node, rows[0], row)


def _attach_bias(flow: Flow, node: Node, out: Labels) -> None:
    bias = argument(node, 2, None, "bias")
    if isinstance(bias, Node):
        flow.equate(node, out, flow.of(bias)[0])


_CONVOLUTION = Rule(convolution, rewrite_groups)

RULES = {
    "aten.conv1d.default": _CONVOLUTION,
    "aten.conv2d.default": _CONVOLUTION,
    "aten.conv3d.default": _CONVOLUTION,
    "aten.conv1d.padding": _CONVOLUTION,
    "aten.conv2d.padding": _CONVOLUTION,
    "aten.conv3d.padding": _CONVOLUTION,
    "aten.conv_transpose1d.default": Rule(transposed_convolution),
    "aten.conv_transpose2d.input": Rule(transposed_convolution),
    "aten.conv_transpose3d.input": Rule(transposed_convolution),
    "aten.linear.default": Rule(linear),
}

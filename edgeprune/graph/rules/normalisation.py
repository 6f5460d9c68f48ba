"""Normalisations: batch norm attaches per-channel parameters, the others mix the axis they norm."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Rule


def per_channel(flow: Flow, node: Node) -> Axes:
    """Batch norm in evaluation mode and PReLU: each parameter has one entry per channel."""
    axes = flow.of(node.args[0])
    for value in node.args[1:]:
        if isinstance(value, Node):
            (labels,) = flow.of(value)
            # PReLU may share one slope between all channels.
            if labels is not None and axes[1] is not None and len(labels) != len(axes[1]):
                continue
            flow.equate(node, axes[1], labels)
    return axes


def mixing_last(flow: Flow, node: Node) -> Axes:
    """Layer and RMS norm: every output depends on all indices of the normalised axes."""
    axes = flow.of(node.args[0])
    normalised = node.args[1]
    assert isinstance(normalised, (list, tuple))
    for labels in axes[-len(normalised) :]:
        flow.lock(node, labels, "normalised over this axis", "a cut would change every other channel")
    return axes


def mixing_channels(flow: Flow, node: Node) -> Axes:
    """Group norm: channels of a group are normalised together."""
    axes = flow.of(node.args[0])
    flow.lock(node, axes[1], "normalised over groups of channels", "a cut would change its group")
    return axes


def instance(flow: Flow, node: Node) -> Axes:
    """Instance norm: each channel is normalised over space on its own."""
    return per_channel(flow, node)


def softmax(flow: Flow, node: Node) -> Axes:
    """Softmax: every output depends on all indices of one axis."""
    axes = flow.of(node.args[0])
    assert isinstance(node.args[1], int)
    flow.lock(node, axes[node.args[1]], "softmax over this axis")
    return axes


RULES = {
    "aten.batch_norm.default": Rule(per_channel),
    "aten.prelu.default": Rule(per_channel),
    "aten.instance_norm.default": Rule(instance),
    "aten.layer_norm.default": Rule(mixing_last),
    "aten.rms_norm.default": Rule(mixing_last),
    "aten.group_norm.default": Rule(mixing_channels),
    "aten.softmax.int": Rule(softmax),
    "aten.log_softmax.int": Rule(softmax),
}

"""Normalisations: batch norm attaches per-channel parameters, the others mix the axis they norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Product, Rule
from edgeprune.graph.nodes import argument, set_argument, set_arguments

_MIXED = "a cut would change every other channel"


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


def layer_norm(flow: Flow, node: Node) -> Axes:
    """Every output depends on all indices of the normalised axes."""
    axes, normalised = _normalised(flow, node)
    for labels in normalised:
        flow.lock(node, labels, "normalised over this axis", _MIXED, "layer_norm")
    for value in node.args[2:4]:
        if isinstance(value, Node):
            for labels, own in zip(normalised, flow.of(value), strict=True):
                flow.meet(node, [labels, own])
    return axes


def rewrite_layer_norm(node: Node, narrowed: Narrowed) -> None:
    """The written-out sizes of the normalised axes."""
    sizes = node.args[1]
    assert isinstance(sizes, (list, tuple))
    axes = narrowed.of(node)[-len(sizes) :]
    kept = [narrowed.count(labels, size) for labels, size in zip(axes, sizes, strict=True)]
    set_argument(node, 1, kept)


def layer_norm_ignoring(node: Node, narrowed: Narrowed, arguments: tuple[Any, ...]) -> Tensor:
    """Layer norm of the kept indices alone; the others are zero."""
    value, sizes, weight, bias, epsilon = _with_defaults(arguments)
    axis = value.ndim - 1
    kept = _kept(narrowed, narrowed.of(node)[-1])
    if kept is None or len(sizes) > 1:
        return F.layer_norm(value, sizes, weight, bias, epsilon)
    part = F.layer_norm(
        value.index_select(axis, kept),
        [len(kept)],
        None if weight is None else weight[kept],
        None if bias is None else bias[kept],
        epsilon,
    )
    return torch.zeros_like(value).index_copy(axis, kept, part)


def rms_norm(flow: Flow, node: Node) -> Axes:
    """Divided by the root of a mean of squares: exact, since a cut index would have added a zero."""
    axes, normalised = _normalised(flow, node)
    for place in range(len(normalised)):
        flow.read(node, node.args[0], place - len(normalised))
    weight = argument(node, 2, None, "weight")
    if isinstance(weight, Node):
        for labels, own in zip(normalised, flow.of(weight), strict=True):
            flow.meet(node, [labels, own])
    return axes


def rewrite_rms_norm(node: Node, narrowed: Narrowed) -> None:
    """The mean is over fewer indices: epsilon and result are scaled so that the sum counts as before."""
    sizes = node.args[1]
    assert isinstance(sizes, (list, tuple))
    before = [size for size in sizes if isinstance(size, int)]
    axes = narrowed.of(node)[-len(before) :]
    kept = [narrowed.count(labels, size) for labels, size in zip(axes, before, strict=True)]
    if kept == before:
        return
    share = float(np.prod(kept) / np.prod(before))
    epsilon = argument(node, 3, None, "eps")
    assert isinstance(epsilon, float), "capture writes epsilon out"
    set_arguments(node, node.args[0], kept, argument(node, 2, None, "weight"), epsilon / share)
    scale_after(node, share**-0.5)


def group_norm(flow: Flow, node: Node) -> Axes:
    """Channels of a group are normalised together: whole groups go exactly."""
    axes = flow.of(node.args[0])
    groups, channels = node.args[1], axes[1]
    assert isinstance(groups, int)
    for value in node.args[2:4]:
        if isinstance(value, Node):
            flow.meet(node, [channels, flow.of(value)[0]])
    if channels is None or len(channels) == groups:
        return axes
    within = channels
    if groups > 1:
        whole, within = flow.fresh(groups), flow.fresh(len(channels) // groups)
        flow.products.append(Product(channels.reshape(groups, -1), (whole, within)))
        flow.mark(whole, "groups")
        flow.notes[node] = whole
    flow.lock(node, within, "normalised with the other channels of its group", _MIXED, "group_norm")
    return axes


def rewrite_group_norm(node: Node, narrowed: Narrowed) -> None:
    """As many groups as are left; with one channel in each, as many as channels."""
    groups = node.args[1]
    assert isinstance(groups, int)
    if node.name in narrowed.notes:
        set_argument(node, 1, narrowed.count(narrowed.notes[node.name], groups))
    elif groups > 1:
        set_argument(node, 1, narrowed.count(narrowed.of(node)[1], groups))


def group_norm_ignoring(node: Node, narrowed: Narrowed, arguments: tuple[Any, ...]) -> Tensor:
    """Group norm of the kept channels alone; the others are zero."""
    value, groups, weight, bias, epsilon = _with_defaults(arguments)
    kept = _kept(narrowed, narrowed.of(node)[1])
    if kept is None:
        return F.group_norm(value, groups, weight, bias, epsilon)
    result = torch.zeros_like(value)
    width = value.shape[1] // groups
    for group in range(groups):
        own = kept[(kept >= group * width) & (kept < (group + 1) * width)]
        if len(own):
            part = value[:, own].flatten(1)
            spread, mean = torch.var_mean(part, 1, correction=0, keepdim=True)
            result[:, own] = ((part - mean) / (spread + epsilon).sqrt()).reshape(value[:, own].shape)
    shape = (1, -1, *(1,) * (value.ndim - 2))
    scaled = result if weight is None else result * weight.reshape(shape)
    return scaled if bias is None else scaled + bias.reshape(shape)


def softmax(flow: Flow, node: Node) -> Axes:
    """Every output depends on all indices of one axis."""
    axes = flow.of(node.args[0])
    assert isinstance(node.args[1], int)
    flow.lock(node, axes[node.args[1]], "softmax over this axis", _MIXED)
    return axes


def scale_after(node: Node, factor: float) -> None:
    """Multiply what a node answers, for all its readers."""
    apply_after(node, torch.ops.aten.mul.Tensor, factor)


def apply_after(node: Node, operator: Callable[..., Any], number: float) -> None:
    """Put an operator with one number behind a node, for all its readers."""
    with node.graph.inserting_after(node):
        made = node.graph.call_function(operator, (node, number))
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _normalised(flow: Flow, node: Node) -> tuple[Axes, Axes]:
    """All axes, and those at the end that are normalised over."""
    axes = flow.of(node.args[0])
    normalised = node.args[1]
    assert isinstance(normalised, (list, tuple))
    return axes, axes[-len(normalised) :]


def _with_defaults(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Value, sizes or groups, weight, bias, epsilon."""
    return (*arguments[:5], *(None, None, None, None, 1e-5)[len(arguments) :])


def _kept(narrowed: Narrowed, labels: Labels | None) -> Tensor | None:
    if labels is None or not narrowed.is_cut(labels):
        return None
    return torch.from_numpy(np.flatnonzero(narrowed.kept[labels]))


RULES = {
    "aten.batch_norm.default": Rule(per_channel),
    "aten.prelu.default": Rule(per_channel),
    "aten.instance_norm.default": Rule(per_channel),
    "aten.layer_norm.default": Rule(layer_norm, rewrite_layer_norm, layer_norm_ignoring),
    "aten.rms_norm.default": Rule(rms_norm, rewrite_rms_norm),
    "aten.group_norm.default": Rule(group_norm, rewrite_group_norm, group_norm_ignoring),
    "aten.softmax.int": Rule(softmax),
    "aten.log_softmax.int": Rule(softmax),
}

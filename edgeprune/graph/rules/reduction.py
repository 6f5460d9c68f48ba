"""Pooling, resizing and reductions: channels pass, the axes that are reduced do not."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.capture import shape_of
from edgeprune.graph.flow import Axes, Flow, Rule, argument, unlabelled


def spatial(flow: Flow, node: Node) -> Axes | list[Axes]:
    """Pooling and interpolation work on each channel alone."""
    axes = flow.of(node.args[0])
    for labels in axes[2:]:
        flow.lock(node, labels, "pooled over this axis")
    outputs = node.meta["val"]
    if isinstance(outputs, (list, tuple)):
        return [(*axes[:2], *(None,) * (len(axes) - 2)) for _ in outputs]
    return (*axes[:2], *unlabelled(node)[2:])


def reduce(flow: Flow, node: Node) -> Axes:
    """mean, sum, amax, ... over some axes."""
    axes = flow.of(node.args[0])
    which = argument(node, 1, None, "dim")
    if isinstance(which, int):
        which = [which]
    reduced = (
        {axis % len(axes) for axis in which if isinstance(axis, int)}
        if isinstance(which, (list, tuple)) and which
        else set(range(len(axes)))
    )
    for axis in reduced:
        flow.lock(node, axes[axis], "reduced over this axis", "a cut would change the sum or mean")
    if len(shape_of(node)) == len(axes):
        return tuple(None if axis in reduced else labels for axis, labels in enumerate(axes))
    return tuple(labels for axis, labels in enumerate(axes) if axis not in reduced)


_SPATIAL = (
    "max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default avg_pool2d.default "
    "avg_pool3d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default "
    "adaptive_avg_pool3d.default adaptive_max_pool2d.default upsample_nearest2d.vec "
    "upsample_bilinear2d.vec upsample_bicubic2d.vec upsample_nearest2d.default "
    "max_pool2d_with_indices.default"
).split()
_REDUCTIONS = (
    "mean.dim mean.default sum.dim_IntList sum.default amax.default amin.default var.correction".split()
)

RULES = {f"aten.{name}": Rule(spatial) for name in _SPATIAL} | {
    f"aten.{name}": Rule(reduce) for name in _REDUCTIONS
}

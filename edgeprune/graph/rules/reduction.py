"""Pooling, resizing and reductions: channels pass, the axes that are reduced do not."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Narrowed, Rule, unlabelled
from edgeprune.graph.nodes import argument, shape_of, tensor_shape
from edgeprune.graph.rules.normalisation import apply_after, scale_after


def spatial(flow: Flow, node: Node) -> Axes | list[Axes]:
    """Pooling and interpolation work on each channel alone."""
    axes = flow.of(node.args[0])
    for labels in axes[2:]:
        flow.lock(node, labels, "pooled over this axis")
    outputs = node.meta["val"]
    if isinstance(outputs, (list, tuple)):
        return [(*axes[:2], *(None,) * (len(axes) - 2)) for _ in outputs]
    return (*axes[:2], *unlabelled(node)[2:])


def sampled(flow: Flow, node: Node) -> Axes:
    """Grid sampling moves every channel alike; the grid itself is not cut."""
    axes = flow.of(node.args[0])
    flow.lock_axes(node, (axes[0], *axes[2:]), "sampled over this axis")
    flow.lock_all(node, [one for one in node.all_input_nodes if one is not node.args[0]], "a sampling grid")
    return (*axes[:2], *unlabelled(node)[2:])


def windows(flow: Flow, node: Node) -> Axes:
    """Unfold: (batch, channels, *space) to (batch, channels * kernel, positions)."""
    axes = flow.of(node.args[0])
    flow.lock_axes(node, (axes[0], *axes[2:]), "unfolded over this axis")
    if axes[1] is None:
        return unlabelled(node)
    return (None, np.repeat(axes[1], (shape_of(node)[1] or 0) // len(axes[1])), None)


def folded(flow: Flow, node: Node) -> Axes:
    """Fold: (batch, channels * kernel, positions) to (batch, channels, *space)."""
    axes, channels = flow.of(node.args[0]), shape_of(node)[1] or 0
    flow.lock_axes(node, (axes[0], axes[2]), "folded over this axis")
    labels = axes[1]
    if labels is not None:
        labels = flow.meet(node, list(labels.reshape(channels, -1).T))
    return (None, labels, *unlabelled(node)[2:])


def sliding(flow: Flow, node: Node) -> Axes:
    """`x.unfold(axis, size, step)`: windows over one axis, laid out along a new last one."""
    axes, given = flow.of(node.args[0]), node.args[1]
    assert isinstance(given, int)
    axis = given % len(axes)
    flow.lock(node, axes[axis], "windows slide along this axis")
    return (*axes[:axis], None, *axes[axis + 1 :], None)


def total(flow: Flow, node: Node) -> Axes:
    """sum, mean, norms, largest and smallest: a cut index counts as the zero it was silenced to."""
    axes, reduced = _reduced(flow, node)
    for axis in reduced:
        flow.read(node, node.args[0], axis)
    return _without(node, axes, reduced)


def rewrite_mean(node: Node, narrowed: Narrowed) -> None:
    """A mean over fewer indices is scaled back to the number it was taken over."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes = narrowed.of(source)
    share = 1.0
    for axis in _which(node, len(axes)):
        labels = axes[axis]
        if labels is not None:
            share *= narrowed.count(labels, 0) / len(labels)
    if share != 1.0:
        scale_after(node, share)


def rewrite_extreme(node: Node, narrowed: Narrowed) -> None:
    """A largest or smallest value of which some indices read as zero: never below, or above, that zero."""
    source = node.args[0]
    assert isinstance(source, Node)
    axes = narrowed.of(source)
    if any(narrowed.is_cut(axes[axis]) for axis in _which(node, len(axes))):
        bound = torch.ops.aten.clamp_min if "amax" in str(node.target) else torch.ops.aten.clamp_max
        apply_after(node, bound.default, 0.0)


def extreme(flow: Flow, node: Node) -> Axes | list[Axes]:
    """var, prod, argmax, ... over some axes: every index of them takes part."""
    axes, reduced = _reduced(flow, node)
    for axis in reduced:
        flow.lock(node, axes[axis], "reduced over this axis", "a cut would change what is reduced")
    outputs = node.meta["val"]
    if isinstance(outputs, (list, tuple)):
        return [_kept(axes, reduced, len(shape)) for shape in map(tensor_shape, outputs)]
    return _without(node, axes, reduced)


def along(flow: Flow, node: Node) -> Axes | list[Axes]:
    """cumsum, sort, topk, ...: indices of one axis depend on each other, the others pass."""
    axes = flow.of(node.args[0])
    given = argument(node, 2 if "topk" in str(node.target) else 1, -1, "dim")
    axis = (given if isinstance(given, int) else -1) % len(axes)
    flow.lock(node, axes[axis], "works along this axis", "a cut would change the other indices")
    rest = tuple(None if place == axis else labels for place, labels in enumerate(axes))
    outputs = node.meta["val"]
    return [rest for _ in outputs] if isinstance(outputs, (list, tuple)) else rest


def _reduced(flow: Flow, node: Node) -> tuple[Axes, set[int]]:
    axes = flow.of(node.args[0])
    return axes, _which(node, len(axes))


def _which(node: Node, rank: int) -> set[int]:
    """The axes a reduction goes over."""
    which = argument(node, 2 if "norm" in str(node.target) else 1, None, "dim")
    if isinstance(which, int) and not isinstance(which, bool):
        which = [which]
    if isinstance(which, (list, tuple)) and which:
        return {axis % rank for axis in which if isinstance(axis, int)}
    return set(range(rank))


def _without(node: Node, axes: Axes, reduced: set[int]) -> Axes:
    return _kept(axes, reduced, len(shape_of(node)))


def _kept(axes: Axes, reduced: set[int], rank: int) -> Axes:
    """The axes left, with or without those of size one in place of the reduced."""
    if rank == len(axes):
        return tuple(None if axis in reduced else labels for axis, labels in enumerate(axes))
    return tuple(labels for axis, labels in enumerate(axes) if axis not in reduced)


_SPATIAL = (
    "max_pool1d.default max_pool2d.default max_pool3d.default avg_pool1d.default avg_pool2d.default "
    "avg_pool3d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default "
    "adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default "
    "adaptive_max_pool3d.default max_pool2d_with_indices.default upsample_linear1d.vec "
    "upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest2d.default upsample_nearest3d.vec "
    "upsample_bilinear2d.vec upsample_bilinear2d.default _upsample_bilinear2d_aa.vec upsample_bicubic2d.vec "
    "upsample_bicubic2d.default _upsample_bicubic2d_aa.vec upsample_trilinear3d.vec "
    "_upsample_nearest_exact2d.vec max_unpool2d.default"
).split()
_EXTREMES = (
    "var.correction var.dim std.correction std.dim var_mean.correction "
    "var_mean.dim std_mean.correction std_mean.dim max.dim min.dim max.default min.default prod.dim_int "
    "argmax.default argmin.default logsumexp.default all.dim any.dim median.dim"
).split()
_ALONG = "cumsum.default cumprod.default sort.default sort.stable argsort.default topk.default".split()

RULES = (
    {f"aten.{name}": Rule(spatial) for name in _SPATIAL}
    | {f"aten.{name}": Rule(extreme) for name in _EXTREMES}
    | {f"aten.{name}": Rule(along) for name in _ALONG}
    | {
        "aten.sum.dim_IntList": Rule(total),
        "aten.sum.default": Rule(total),
        "aten.mean.dim": Rule(total, rewrite_mean),
        "aten.mean.default": Rule(total, rewrite_mean),
        "aten.amax.default": Rule(total, rewrite_extreme),
        "aten.amin.default": Rule(total, rewrite_extreme),
        "aten.norm.ScalarOpt_dim": Rule(total),
        "aten.norm.Scalar": Rule(total),
        "aten.linalg_vector_norm.default": Rule(total),
        "aten.grid_sampler.default": Rule(sampled),
        "aten.grid_sampler_2d.default": Rule(sampled),
        "aten.im2col.default": Rule(windows),
        "aten.col2im.default": Rule(folded),
        "aten.unfold.default": Rule(sliding),
    }
)

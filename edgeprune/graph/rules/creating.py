"""Tensors made in the forward: of any width, so their axes follow whatever they meet."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Narrowed, Rule, unlabelled
from edgeprune.graph.nodes import set_argument, shape_of


def filled(flow: Flow, node: Node) -> Axes:
    """zeros, ones, full, empty: all indices of an axis are alike."""
    return tuple(None if size is None else flow.fresh(size) for size in shape_of(node))


def rewrite_filled(node: Node, narrowed: Narrowed) -> None:
    """Written-out sizes follow the cut."""
    place = 1 if ".new_" in str(node.target) else 0
    sizes = node.args[place]
    assert isinstance(sizes, (list, tuple))
    counted = [
        narrowed.count(labels, size) if isinstance(size, int) else size
        for labels, size in zip(narrowed.of(node), sizes, strict=True)
    ]
    set_argument(node, place, counted)


def counted(flow: Flow, node: Node) -> Axes:
    """arange, scalar_tensor, eye, ...: every index is what it is."""
    return unlabelled(node)


_FILLED = "zeros ones full empty rand randn new_zeros new_ones new_full new_empty".split()
_COUNTED = (
    "arange.default arange.start arange.start_step linspace.default scalar_tensor.default eye.default eye.m "
    "tril_indices.default triu_indices.default sym_size.int sym_numel.default"
).split()

RULES = {f"aten.{name}.default": Rule(filled, rewrite_filled) for name in _FILLED} | {
    f"aten.{name}": Rule(counted) for name in _COUNTED
}

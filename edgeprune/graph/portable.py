"""Portable: the same program in forms that every converter takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from edgeprune.graph.nodes import shape_of

_ATEN = torch.ops.aten
_EXPANDING = (_ATEN.expand.default, _ATEN.expand_as.default)
_BROADCASTING = {
    *(_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor),
    *(_ATEN.maximum.default, _ATEN.minimum.default),
}


def portable(fresh: ExportedProgram) -> ExportedProgram:
    """The program, of which nobody else holds a part, rewritten; its answers are the same to the bit."""
    _reshape_instead_of_view(fresh)
    _leave_broadcasting_to_readers(fresh)
    _attend_in_four_axes(fresh)
    fresh.graph_module.recompile()
    return fresh


def _reshape_instead_of_view(fresh: ExportedProgram) -> None:
    """A view that holds for fused attention's strides does not hold once attention is taken apart.

    Without this, MaxViT has no ONNX.
    """
    for node in fresh.graph.find_nodes(op="call_function", target=_ATEN.view.default):
        node.target = _ATEN.reshape.default


def _leave_broadcasting_to_readers(fresh: ExportedProgram) -> None:
    """TFLite's converter loses the shape of a gate that is expanded before it is multiplied, as in ECA."""
    for target in _EXPANDING:
        for node in fresh.graph.find_nodes(op="call_function", target=target):
            if all(_broadcasts(reader, node) for reader in node.users):
                node.replace_all_uses_with(node.all_input_nodes[0])
                fresh.graph.erase_node(node)


def _broadcasts(reader: Node, expanded: Node) -> bool:
    """Whether an operator answers in the same shape when it does the expanding itself."""
    others = [one for one in reader.all_input_nodes if one is not expanded]
    return reader.target in _BROADCASTING and any(
        None not in shape_of(one)[1:] and shape_of(one) == shape_of(expanded) for one in others
    )


def _attend_in_four_axes(fresh: ExportedProgram) -> None:
    """ONNX knows fused attention of (batch, heads, tokens, width); Hiera's has windows beside the heads."""
    target = _ATEN.scaled_dot_product_attention.default
    for node in fresh.graph.find_nodes(op="call_function", target=target):
        query, key, value, *others = node.args
        operands = [one for one in (query, key, value) if isinstance(one, Node)]
        sizes = [shape_of(one) for one in operands]
        if len(operands) < 3 or others or "attn_mask" in node.kwargs or len(sizes[0]) < 5:
            continue
        if any(None in own[1:] or own[:-2] != sizes[0][:-2] for own in sizes):
            continue
        heads = prod(size or 1 for size in sizes[0][1:-2])
        with fresh.graph.inserting_before(node):
            node.args = tuple(
                _reshaped(one, [-1, heads, *own[-2:]]) for one, own in zip(operands, sizes, strict=True)
            )
        readers = list(node.users)
        with fresh.graph.inserting_after(node):
            back = _reshaped(node, [-1, *shape_of(node)[1:]])
        back.meta["val"] = node.meta["val"]
        node.meta["val"] = node.meta["val"].flatten(1, -3)
        for reader in readers:
            reader.replace_input_with(node, back)


def _reshaped(node: Node, sizes: Sequence[int | None]) -> Node:
    made = node.graph.call_function(_ATEN.reshape.default, (node, list(sizes)))
    made.meta = {**node.meta, "val": node.meta["val"].reshape(sizes)}
    return made

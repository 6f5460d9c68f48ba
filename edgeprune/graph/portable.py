"""Portable: the same program in forms that every converter takes."""

from __future__ import annotations

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

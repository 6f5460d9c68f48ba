"""Viewless: views as reshapes, which hold whatever strides a converter's decompositions give a tensor."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram

_ATEN = torch.ops.aten


def viewless(fresh: ExportedProgram) -> ExportedProgram:
    """The program, of which nobody else holds a part, with reshapes in place of views.

    A view that holds for fused attention's strides does not hold once attention is decomposed into products:
    without this, MaxViT has no ONNX.
    """
    for node in fresh.graph.find_nodes(op="call_function", target=_ATEN.view.default):
        node.target = _ATEN.reshape.default
    fresh.graph_module.recompile()
    return fresh

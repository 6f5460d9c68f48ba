"""Gathered: enlarging to the nearest neighbour as the indices that PyTorch takes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgeprune.graph.nodes import shape_of

_ATEN = torch.ops.aten
_NEAREST = (_ATEN.upsample_nearest1d, _ATEN.upsample_nearest2d, _ATEN.upsample_nearest3d)


def gathered(network: GraphModule) -> GraphModule:
    """The network, of which nobody else holds a part, with indices in place of uneven enlargements.

    TFLite's converter takes the centres of pixels where PyTorch takes their corners. Where every pixel is
    repeated equally often these are the same neighbours; from 4 pixels to 7 they are not (GhostNetV3).
    """
    for operator in _NEAREST:
        for target in (operator.default, operator.vec):
            for node in network.graph.find_nodes(op="call_function", target=target):
                if not _even(node):
                    _gather(network, node)
    network.recompile()
    return network


def _even(node: Node) -> bool:
    """Whether every pixel is repeated equally often."""
    sizes = zip(shape_of(node.all_input_nodes[0])[2:], shape_of(node)[2:], strict=True)
    return all(old is not None and new is not None and new % old == 0 for old, new in sizes)


def _gather(network: GraphModule, node: Node) -> None:
    value = node.all_input_nodes[0]
    for axis in range(2, len(shape_of(node))):
        name = f"_{node.name}_{axis}"
        network.register_buffer(name, _neighbours(node, axis), persistent=False)
        with network.graph.inserting_before(node):
            places = network.graph.get_attr(name)
            value = network.graph.call_function(_ATEN.index_select.default, (value, axis, places))
        value.meta = {key: found for key, found in node.meta.items() if key != "val"}
    node.replace_all_uses_with(value)
    network.graph.erase_node(node)


def _neighbours(node: Node, axis: int) -> Tensor:
    """Which index of an axis each index of the answer is: asked of the operator itself."""
    sizes = [size or 1 for size in shape_of(node.all_input_nodes[0])[2:]]
    counted = torch.arange(sizes[axis - 2], dtype=torch.float32)
    grid = counted.reshape([-1 if place == axis - 2 else 1 for place in range(len(sizes))]).expand(sizes)
    target = node.target
    assert callable(target)
    answer: Tensor = target(grid[None, None].contiguous(), *node.args[1:], **node.kwargs)
    corner = tuple(slice(None) if place == axis else 0 for place in range(answer.ndim))
    return answer[corner].long()

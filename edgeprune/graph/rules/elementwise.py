"""Element-wise operators: operands that meet at an index are cut alike."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.capture import shape_of
from edgeprune.graph.flow import Axes, Flow, Labels, Rule


def elementwise(flow: Flow, node: Node) -> Axes:
    """Broadcast as PyTorch does; an operand of size 1 on an axis is needed by all it meets there."""
    shape = shape_of(node)
    operands = [(flow.of(value), shape_of(value)) for value in node.all_input_nodes if _is_tensor(value)]
    result: list[Labels | None] = []
    for axis, size in enumerate(shape):
        back = axis - len(shape)
        there = [(axes[back], own[back]) for axes, own in operands if -back <= len(own)]
        present = [labels for labels, own_size in there if own_size == size]
        for labels, own_size in there:
            if own_size != size:
                flow.lock(node, labels, "one index that is repeated for all others")
        result.append(_equate_all(flow, node, present) if present else None)
    return tuple(result)


def _equate_all(flow: Flow, node: Node, present: list[Labels | None]) -> Labels | None:
    labels = present[0]
    for other in present[1:]:
        if labels is not None or other is not None:
            labels = flow.equate(node, labels, other)
    return labels


def _is_tensor(value: Node) -> bool:
    return value.meta.get("val") is not None and hasattr(value.meta["val"], "shape")


_UNARY = (
    "abs alias celu clamp clamp_max clamp_min clone contiguous cos detach detach_ dropout elu erf exp expm1 "
    "feature_dropout alpha_dropout floor gelu hardsigmoid hardswish hardtanh leaky_relu lift_fresh_copy "
    "log log1p log_sigmoid logical_not mish neg reciprocal relu relu6 round rsqrt selu sigmoid sign silu "
    "sin softplus softsign sqrt square tanh threshold zeros_like ones_like"
).split()
_BINARY = "add sub mul div maximum minimum pow where eq ne lt le gt ge logical_and logical_or rsub".split()
_OVERLOADS = "default Tensor Scalar Tensor_Scalar Tensor_Tensor self Tensor_mode".split()

RULES = {
    f"aten.{name}.{overload}": Rule(elementwise) for name in [*_UNARY, *_BINARY] for overload in _OVERLOADS
} | {
    name: Rule(elementwise)
    for name in (
        "aten._to_copy.default",
        "aten.to.dtype",
        "aten.to.dtype_layout",
        "aten.type_as.default",
        "aten._assert_tensor_metadata.default",
    )
}

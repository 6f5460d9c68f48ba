"""Element-wise operators: operands that meet at an index are cut alike."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Rule
from edgeprune.graph.nodes import shape_of


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
        result.append(flow.meet(node, present) if present else None)
    return tuple(result)


def _is_tensor(value: Node) -> bool:
    return value.meta.get("val") is not None and hasattr(value.meta["val"], "shape")


_UNARY = (
    "abs alias alpha_dropout ceil celu clamp clamp_max clamp_min clone contiguous cos detach detach_ "
    "dropout elu erf exp expm1 feature_dropout floor gelu hardshrink hardsigmoid hardswish hardtanh "
    "isnan leaky_relu "
    "lift_fresh_copy log log10 log1p log2 log_sigmoid logical_not logit mish nan_to_num neg ones_like "
    "reciprocal relu relu6 round rrelu rsqrt selu sigmoid sign silu sin softplus softshrink softsign "
    "sqrt square tan tanh tanhshrink threshold trunc zero zeros_like full_like bitwise_not empty_like "
    "rand_like"
).split()
_BINARY = (
    "add atan2 bitwise_and bitwise_or copy div eq fill floor_divide fmod ge gt le lerp logical_and "
    "logical_or lt "
    "masked_fill maximum minimum mul ne pow remainder rsub sub where addcmul addcdiv"
).split()
_OVERLOADS = (
    "default Tensor Scalar Tensor_Scalar Tensor_Tensor self Tensor_mode ScalarOther ScalarSelf "
    "Scalar_mode decimals"
).split()

RULES = {
    f"aten.{name}.{overload}": Rule(elementwise) for name in [*_UNARY, *_BINARY] for overload in _OVERLOADS
} | {
    name: Rule(elementwise)
    for name in (
        "aten._to_copy.default",
        "aten.to.dtype",
        "aten.to.device",
        "aten.to.other",
        "aten.to.dtype_layout",
        "aten.type_as.default",
        "aten._assert_tensor_metadata.default",
    )
}

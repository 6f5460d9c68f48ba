"""Consumers: the layers that read a group's channels, and what happens to their output next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Consumption
from edgeprune.graph.nodes import argument, operator_name


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """A convolution or linear layer, with the batch norm and the residual sum that follow it.

    `norm` and `total` are None where the layer's output goes elsewhere; `partner` is the sum's
    other operand. All nodes belong to the graph the coupling was made for.
    """

    node: Node
    source: Node
    weight: str
    bias: str | None
    norm: Node | None
    total: Node | None
    partner: Node | None

    @property
    def output(self) -> Node:
        """The layer's output after its batch norm."""
        return self.norm or self.node

    @property
    def receiver(self) -> Node:
        """The value an error of this layer ends up in: the residual sum, or its own output."""
        return self.total or self.output

    @property
    def linear_range(self) -> tuple[float, float]:
        """Between which values the receiver is read as it is: (0, inf) before a ReLU, else no bounds.

        Below the first and above the second everything that reads it answers the same.
        """
        ranges = {_linear_range(user) for user in self.receiver.users}
        return ranges.pop() if len(ranges) == 1 else (-math.inf, math.inf)

    @property
    def has_intercept(self) -> bool:
        """Whether a constant can be added to the layer's output."""
        return self.norm is not None or self.bias is not None


def consumers(coupling: Coupling) -> list[Consumer]:
    """Every layer whose input channels are labelled and whose weight no other layer uses."""
    uses: dict[str, int] = {}
    for consumption in coupling.consumptions:
        uses[consumption.tensor] = uses.get(consumption.tensor, 0) + 1
    return [
        _consumer(consumption)
        for consumption in coupling.consumptions
        if uses[consumption.tensor] == 1 and _is_refittable(consumption.node)
    ]


def positions(node: Node, source: Tensor) -> int:
    """How many output positions the layer has for one input: spatial ones, or tokens."""
    if operator_name(node) == "aten.linear.default":
        return math.prod(source.shape[1:-1])
    return math.prod(_windows(node, source).shape[2:4])


def patches(node: Node, source: Tensor, chosen: Tensor | None = None) -> Tensor:
    """The layer as a matrix product: rows such that output = rows @ weight.flatten(1).T.

    Only the `chosen` output positions (all without) are copied. Rows have shape
    (batch * positions, columns); columns are channel-major, as in the flattened weight.
    """
    if operator_name(node) == "aten.linear.default":
        tokens = source.reshape(len(source), -1, source.shape[-1])
        return (tokens if chosen is None else tokens[:, chosen]).flatten(0, 1)
    windows = _windows(node, source)
    width = windows.shape[3]
    if chosen is None:
        chosen = torch.arange(windows.shape[2] * width)
    picked = windows[:, :, chosen // width, chosen % width]
    return picked.transpose(1, 2).flatten(0, 1).flatten(1)


def outputs(node: Node, value: Tensor, chosen: Tensor | None = None) -> Tensor:
    """A value of the layer's output shape as rows that match those of `patches`."""
    if operator_name(node) == "aten.linear.default":
        tokens = value.reshape(len(value), -1, value.shape[-1])
    else:
        tokens = value.flatten(2).transpose(1, 2)
    return (tokens if chosen is None else tokens[:, chosen]).flatten(0, 1)


def _windows(node: Node, source: Tensor) -> Tensor:
    """The padded input seen through the kernel at every position, without copying.

    Shape (batch, channels, height, width, *kernel).
    """
    weight = node.args[1]
    assert isinstance(weight, Node)
    kernel = weight.meta["val"].shape[2:]
    stride, padding, dilation = (
        _pair(argument(node, place, default, name))
        for place, default, name in ((3, 1, "stride"), (4, 0, "padding"), (5, 1, "dilation"))
    )
    padded = F.pad(source, (padding[1], padding[1], padding[0], padding[0])).contiguous()
    size = [
        (extent - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis, extent in enumerate(padded.shape[2:])
    ]
    step = padded.stride()
    return padded.as_strided(
        (*padded.shape[:2], *size, *kernel),
        (
            step[0],
            step[1],
            step[2] * stride[0],
            step[3] * stride[1],
            step[2] * dilation[0],
            step[3] * dilation[1],
        ),
    )


def norm_tensors(norm: Node) -> tuple[str | None, str | None, str, str] | None:
    """Names of a batch norm's weight, bias, running mean and running variance."""
    names = [str(value.target) if isinstance(value, Node) else None for value in norm.args[1:5]]
    weight, bias, mean, variance = names
    if mean is None or variance is None:
        return None
    return weight, bias, mean, variance


def norm_epsilon(norm: Node) -> float:
    """The constant a batch norm adds to the variance."""
    epsilon = argument(norm, 7, 1e-5, "eps")
    assert isinstance(epsilon, float)
    return epsilon


def output_scale(consumer: Consumer, tensors: dict[str, Tensor]) -> Tensor:
    """What the batch norm multiplies each output channel with, shape (out,); ones without one."""
    out = tensors[consumer.weight].shape[0]
    names = norm_tensors(consumer.norm) if consumer.norm is not None else None
    if consumer.norm is None or names is None:
        return torch.ones(out, dtype=torch.float64)
    weight, _, _, variance = names
    deviation = (tensors[variance].double() + norm_epsilon(consumer.norm)).sqrt()
    gain = tensors[weight].double() if weight else torch.ones(out, dtype=torch.float64)
    return gain / deviation


def _consumer(consumption: Consumption) -> Consumer:
    node = consumption.node
    bias = argument(node, 2, None, "bias")
    norm = _only_user(node, "aten.batch_norm.default")
    if norm is not None and (_is_shared(norm) or None in (norm_tensors(norm) or (None,))):
        norm = None
    total = _only_user(norm or node, "aten.add.Tensor")
    partner = None
    if total is not None:
        others = [value for value in total.all_input_nodes if value is not (norm or node)]
        partner = others[0] if len(others) == 1 and not total.kwargs else None
    return Consumer(
        node=node,
        source=consumption.source,
        weight=consumption.tensor,
        bias=str(bias.target) if isinstance(bias, Node) and bias.op == "get_attr" else None,
        norm=norm,
        total=total if partner is not None else None,
        partner=partner,
    )


def _linear_range(user: Node) -> tuple[float, float]:
    operator = operator_name(user).replace("_.default", ".default")
    if operator == "aten.relu.default":
        return 0.0, math.inf
    if operator == "aten.relu6.default":
        return 0.0, 6.0
    if operator == "aten.hardtanh.default":
        low, high = argument(user, 1, -1.0, "min_val"), argument(user, 2, 1.0, "max_val")
        assert isinstance(low, (int, float))
        assert isinstance(high, (int, float))
        return float(low), float(high)
    return -math.inf, math.inf


def _is_refittable(node: Node) -> bool:
    operator, weight = operator_name(node), node.args[1]
    if not isinstance(weight, Node) or weight.op != "get_attr":
        return False  # a transposed weight: its rows are not those of the layer
    if operator == "aten.linear.default":
        return True
    return operator == "aten.conv2d.default" and argument(node, 6, 1, "groups") == 1


def _only_user(node: Node, operator: str) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and operator_name(users[0]) == operator else None


def _is_shared(norm: Node) -> bool:
    """Whether another operator reads one of the batch norm's tensors."""
    return any(
        isinstance(value, Node) and value.op == "get_attr" and len(value.users) > 1
        for value in norm.args[1:5]
    )


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    assert isinstance(value, (list, tuple))
    first, second = value if len(value) == 2 else (value[0], value[0])
    assert isinstance(first, int)
    assert isinstance(second, int)
    return first, second

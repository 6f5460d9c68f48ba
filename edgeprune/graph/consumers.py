"""Consumers: the layers that read a group's channels, and what happens to their output next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.couple import Coupling
from edgeprune.graph.linear_map import CONVOLUTIONS, LAYERS, LinearMap, channel_by_channel, linear_map
from edgeprune.graph.nodes import argument, operator_name, shape_of

_NORM = "aten.batch_norm.default"


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """A convolution or linear layer, with the batch norm and the residual sum that follow it.

    `map` says how it is seen as a matrix product. `norm` and `total` are None where the layer's output
    goes elsewhere; `partner` is the sum's other operand. All nodes belong to the graph the coupling was
    made for.
    """

    node: Node
    source: Node
    map: LinearMap
    weight: str
    bias: str | None
    norm: Node | None
    total: Node | None
    partner: Node | None
    constant: bool = False
    """Whether only its constant may change: `weight` is the tensor that holds it, `source` the layer."""

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
    """Every layer that can be seen as rows times columns and whose weight no other layer uses.

    Layers with labelled input channels, and depthwise convolutions, whose channels pass through.
    """
    uses = Counter(consumption.tensor for consumption in coupling.consumptions)
    places = [(one.node, one.source) for one in coupling.consumptions if uses[one.tensor] == 1]
    found = [_consumer(coupling, *place) for place in (*places, *_depthwise(coupling))]
    return [one for one in found if one is not None]


def constants(coupling: Coupling, layers: Sequence[Consumer]) -> list[Consumer]:
    """Layers whose weight is not theirs to change, but whose bias is, or the batch norm behind them.

    Batch norms behind sums are left out: where the layers before them are refitted, the norm as it was
    does better than a recalibrated one (docs/decisions/0011-constants.md).
    """
    taken = {one.node for one in layers}
    nodes = [node for node in coupling.program.graph.nodes if operator_name(node) in LAYERS]
    found = [_constant(coupling, node) for node in nodes if node not in taken]
    return [one for one in found if one is not None]


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


def output_scale(consumer: Consumer, tensors: Mapping[str, Tensor]) -> Tensor:
    """What the batch norm multiplies each output channel with, shape (out,); ones without one."""
    names = norm_tensors(consumer.norm) if consumer.norm is not None else None
    if consumer.norm is None or names is None:
        columns = consumer.map.columns(tensors[consumer.weight])
        return torch.ones_like(consumer.map.joined(columns[:, 0]), dtype=torch.float64)
    weight, _, _, variance = names
    deviation = (tensors[variance].double() + norm_epsilon(consumer.norm)).sqrt()
    return tensors[weight].double() / deviation if weight else 1 / deviation


def _consumer(coupling: Coupling, node: Node, source: Node) -> Consumer | None:
    weight, bias = node.args[1], argument(node, 2, None, "bias")
    if not isinstance(weight, Node) or weight.op != "get_attr" or len(weight.users) > 1:
        return None  # computed or transposed: its rows are not those of the layer; or another layer's too
    if bias is not None and (not isinstance(bias, Node) or bias.op != "get_attr" or len(bias.users) > 1):
        return None  # a constant that is not the layer's own to change
    view = linear_map(node, coupling.program.tensors()[str(weight.target)])
    if view is None:
        return None
    norm = _norm_of(node)
    total, partner = _sum_of(norm or node)
    return Consumer(
        node=node,
        source=source,
        map=view,
        weight=str(weight.target),
        bias=None if bias is None else str(bias.target),
        norm=norm,
        total=total,
        partner=partner,
    )


def _constant(coupling: Coupling, node: Node) -> Consumer | None:
    """The norm behind a layer, or the layer's own bias, as something that can be fitted."""
    norm, bias = _norm_of(node), argument(node, 2, None, "bias")
    names = norm_tensors(norm) if norm is not None else None
    if names is not None:
        holder = names[2]
    elif isinstance(bias, Node) and bias.op == "get_attr" and len(bias.users) == 1:
        holder = str(bias.target)
    else:
        return None
    total, partner = _sum_of(norm or node)
    return Consumer(
        node=norm or node,
        source=node,
        map=channel_by_channel(norm or node, len(coupling.program.tensors()[holder])),
        weight=holder,
        bias=None,
        norm=norm,
        total=total,
        partner=partner,
        constant=True,
    )


def _norm_of(node: Node) -> Node | None:
    """The batch norm that alone reads a layer's output, and that alone has its tensors."""
    norm = _only_user(node, _NORM)
    along_channels = operator_name(node) != "aten.linear.default" or len(shape_of(node)) == 2
    if norm is None or not along_channels or _is_shared(norm) or norm_tensors(norm) is None:
        return None
    return norm


def _sum_of(value: Node) -> tuple[Node, Node] | tuple[None, None]:
    """The residual sum that alone reads a value, and its other operand of the same shape."""
    total = _only_user(value, "aten.add.Tensor")
    others = [] if total is None else [one for one in total.all_input_nodes if one is not value]
    if total is None or len(others) != 1 or total.kwargs or shape_of(others[0]) != shape_of(total):
        return None, None
    return total, others[0]


def _depthwise(coupling: Coupling) -> Iterator[tuple[Node, Node]]:
    """Convolutions that filter each channel by itself: they end no labels, but what they read drifts too."""
    for node in coupling.program.graph.nodes:
        if operator_name(node) not in CONVOLUTIONS or argument(node, 6, 1, "groups") == 1:
            continue
        source, weight = node.args[:2]
        if isinstance(source, Node) and isinstance(weight, Node) and shape_of(weight)[1] == 1:
            yield node, source


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


def _only_user(node: Node, operator: str) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 and operator_name(users[0]) == operator else None


def _is_shared(norm: Node) -> bool:
    """Whether another operator reads one of the batch norm's tensors."""
    return any(
        isinstance(value, Node) and value.op == "get_attr" and len(value.users) > 1
        for value in norm.args[1:5]
    )

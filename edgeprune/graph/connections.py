"""Connections: the weights whose entries join one input to one output, and zeros in the place of some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.sparsity import Mask
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.nodes import argument, operator_name, shape_of

# Axis of the input that a weight's second axis reads.
_INPUT_AXIS = {
    "aten.linear.default": -1,
    "aten.conv1d.default": 1,
    "aten.conv2d.default": 1,
    "aten.conv3d.default": 1,
    "aten.conv1d.padding": 1,
    "aten.conv2d.padding": 1,
    "aten.conv3d.padding": 1,
}


Source = tuple[Node, int]
"""A value, and the axis that holds its channels."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A weight of shape (outputs, inputs per group, *kernel), and the values it reads."""

    weight: str
    shape: tuple[int, ...]
    groups: int
    sources: list[Source] = field(default_factory=list)

    def spread(self, per_input: NDArray[np.float64]) -> NDArray[np.float64]:
        """One number per input channel, as an array of the weight's shape."""
        outputs = self.shape[0] // self.groups
        rows = np.repeat(per_input.reshape(self.groups, -1), outputs, axis=0)
        return np.broadcast_to(rows.reshape(*rows.shape, *[1] * (len(self.shape) - 2)), self.shape)


def layers(program: Program) -> list[Layer]:
    """Every weight of a linear layer or convolution, once, in the order the network runs.

    A weight that is computed (transposed, parametrized) is none of these: its zeros would not be the
    layer's.
    """
    tensors = program.tensors()
    found: dict[int, Layer] = {}
    for node in program.graph.nodes:
        axis = _INPUT_AXIS.get(operator_name(node))
        weight = node.args[1] if axis is not None else None
        if axis is None or not isinstance(weight, Node) or weight.op != "get_attr":
            continue
        tensor = tensors[str(weight.target)]
        groups = argument(node, 6, 1, "groups") if axis == 1 else 1
        assert isinstance(groups, int)
        layer = found.setdefault(id(tensor), Layer(str(weight.target), tuple(tensor.shape), groups))
        source = node.args[0]
        assert isinstance(source, Node)
        layer.sources.append((source, axis % len(shape_of(source))))
    return list(found.values())


def disconnected(program: Program, masks: Mapping[str, Mask]) -> Program:
    """A copy of the program in which the weights that a mask leaves out are zero."""
    own = program.tensors()
    by_identity = {id(own[name]): torch.from_numpy(mask) for name, mask in masks.items()}
    made: dict[int, Tensor] = {}
    for tensor in own.values():
        mask, value = by_identity.get(id(tensor)), tensor.detach()
        made[id(tensor)] = value.clone() if mask is None else torch.where(mask, value, 0.0)
    return Program(rebuild(program, {name: made[id(one)] for name, one in own.items()}), program.inputs)

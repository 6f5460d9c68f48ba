"""Traits of a network that decide what integers do for its speed, counted on its captured program."""

from __future__ import annotations

import math

from edgeprune.core.advice import Traits
from edgeprune.graph.capture import Program
from edgeprune.graph.linear_map import LAYERS
from edgeprune.graph.nodes import argument, operator_name, single_sizes, stored

_GATES = {
    f"aten.{name}.default" for name in ("gelu", "hardsigmoid", "hardswish", "mish", "sigmoid", "silu", "tanh")
} | {"aten.softmax.int"}


def traits_of(program: Program) -> Traits:
    """Traits of a captured program, counted on its layers and activations."""
    depthwise = total = 0
    gated = False
    for node in program.graph.nodes:
        operator = operator_name(node)
        gated = gated or operator in _GATES
        weight = stored(node.args[1]) if operator in LAYERS else None
        if weight is None:
            continue
        shape = single_sizes(weight.meta["val"])
        answer = single_sizes(node.meta["val"])
        # One multiply-accumulate per weight and place of the output that it is used at.
        places = math.prod(answer[:-1] if operator.startswith("aten.linear") else answer[2:])
        macs = math.prod(shape) * places
        total += macs
        groups = argument(node, 6, 1, "groups")
        if shape[1] == 1 and groups == shape[0] and shape[0] > 1:
            depthwise += macs
    return Traits(macs=total, depthwise=round(depthwise / (total or 1), 4), gated=gated)

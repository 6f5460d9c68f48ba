"""Recurrent layers: a hidden unit is one index in every gate, layer and direction."""

from __future__ import annotations

import numpy as np
from torch.fx import Node

from edgeprune.graph.flow import COMPUTED_WEIGHT, PLAIN_WEIGHT, Axes, Flow, Labels, Rule
from edgeprune.graph.nodes import shape_of, tensor_shape

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(flow: Flow, node: Node) -> list[Axes]:
    """Weights (gates * hidden, in) and (gates * hidden, hidden) for each layer and direction.

    PyTorch runs all layers with one hidden size, so a unit goes from all of them at once.
    """
    source, states, weights = node.args[0], node.args[1], node.args[2]
    assert isinstance(weights, (list, tuple))
    has_biases, layers, bidirectional = node.args[3], node.args[4], node.args[7]
    assert isinstance(layers, int)
    gates = _GATES[str(node.target).split(".")[1]]
    parameters = [one for one in weights if isinstance(one, Node)]
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    initial = [
        one for one in (states if isinstance(states, (list, tuple)) else [states]) if isinstance(one, Node)
    ]
    if len(parameters) != layers * directions * each:
        return _locked(flow, node, "a recurrent layer with projections")
    if any(one.op != "get_attr" for one in parameters):
        return _locked(flow, node, COMPUTED_WEIGHT, PLAIN_WEIGHT)
    axes = flow.of(source)
    flow.lock_axes(node, axes[:-1], "a recurrent layer runs along this axis")
    hidden = flow.fresh(shape_of(parameters[1])[1] or 0)
    read: Labels | None = axes[-1]
    for layer in range(layers):
        for direction in range(directions):
            first = (layer * directions + direction) * each
            own = parameters[first : first + each]
            _couple(flow, node, own, hidden, gates)
            flow.meet(node, [read, flow.of(own[0])[1]])
            if layer == 0:
                flow.consume(node, own[0], 1, source, -1)
            else:
                flow.silence(own[0], 1)
        read = np.tile(hidden, directions)
    for one in initial:
        flow.lock_axes(node, flow.of(one)[:-1], "one state per layer and direction")
        flow.meet(node, [flow.of(one)[-1], hidden])
    return [(None, None, read), *((None, None, hidden) for _ in initial)]


def _locked(flow: Flow, node: Node, why: str, hint: str = "") -> list[Axes]:
    flow.lock_all(node, node.all_input_nodes, why, hint)
    return [(None,) * len(tensor_shape(part)) for part in node.meta["val"]]


def _couple(flow: Flow, node: Node, own: list[Node], hidden: Labels, gates: int) -> None:
    flow.play(own[0], 0, "producer")
    for one in own:
        rows = flow.of(one)[0]
        assert rows is not None
        for row in rows.reshape(gates, -1):
            flow.equate(node, hidden, row)
    flow.meet(node, [flow.of(own[1])[1], hidden])
    flow.silence(own[1], 1)


RULES = {f"aten.{name}.input": Rule(recurrent) for name in _GATES}

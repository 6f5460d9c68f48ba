"""Streams: values that all of a network goes through, as wide after a cut as before.

Where nothing else leads past a value, it says all that what follows can know. Between two such values of
one shape lies a part of the network that a narrower one can be taught by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from edgeprune.graph.capture import Program
from edgeprune.graph.replay import observe

_AXES = 3
"""Of a stream with its batch: maps and tokens, not the few numbers at the end, which the loss asks for."""


def streams(original: Program, shrunk: Program) -> tuple[str, ...]:
    """Names of the last stream of every shape that both networks have, in the order of execution."""
    wide, narrow = (_shapes(program) for program in (original, shrunk))
    last = {shape: name for name, shape in wide.items() if narrow.get(name) == shape}
    return tuple(name for name in wide if name in last.values())


def tapped(program: Program, names: Sequence[str]) -> GraphModule:
    """The program, its tensors not copied, with the values of these nodes after its answer."""
    graph, twins = Graph(), dict[Node, Node]()
    answer = graph.graph_copy(program.graph, twins)
    found = {node.name: twins[node] for node in program.graph.nodes if node.name in names}
    (output,) = torch.utils._pytree.tree_leaves(answer)
    graph.output((output, *(found[name] for name in names)))
    return GraphModule(program.module, graph)


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """Of all maps and tokens that everything goes through, for two images."""
    found: dict[str, tuple[int, ...]] = {}

    def seen(node: Node, value: Any) -> None:
        if isinstance(value, Tensor) and value.ndim >= _AXES:
            found[node.name] = tuple(value.shape)

    observe(program, program.example(2), _passed_by_all(program.graph), seen)
    return found


def _passed_by_all(graph: Graph) -> list[Node]:
    """Nodes that no value from before them is read past."""
    position = {node: place for place, node in enumerate(graph.nodes)}
    fed, found, reach = set[Node](), list[Node](), -1
    for node in graph.nodes:
        if node.op == "placeholder" or any(one in fed for one in node.all_input_nodes):
            fed.add(node)
            if node.op == "call_function" and reach <= position[node]:
                found.append(node)
            reach = max(reach, *(position[user] for user in node.users), -1)
    return found

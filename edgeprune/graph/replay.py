"""Replay: execute a program node by node over many batches, and look at values on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import attribute

Visit = Callable[[Node, Tensor], None]


class _Observer(Interpreter):
    def __init__(self, program: Program, nodes: Iterable[Node], visit: Visit) -> None:
        super().__init__(program.module)
        self._nodes = set(nodes)
        self._visit = visit

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n in self._nodes:
            self._visit(n, value)
        return value


def observe(program: Program, inputs: Tensor, nodes: Iterable[Node], visit: Visit) -> Tensor:
    """Run one batch, calling `visit(node, value)` for the chosen nodes; returns the output."""
    with torch.no_grad():
        output = _Observer(program, nodes, visit).run(inputs)
    assert isinstance(output, Tensor)
    return output


class Replay:
    """A program executed operator by operator over all batches at once.

    Values die after their last reader, unless `pinned` names them: those live until released.
    """

    def __init__(self, program: Program, batches: Sequence[Tensor], pinned: Iterable[Node]) -> None:
        self._program = program
        self._batches = list(batches)
        self._waiting: list[Node] = [node for node in program.graph.nodes if node.op != "output"]
        self._readers = Counter(value for node in program.graph.nodes for value in node.all_input_nodes)
        self._readers.update(pinned)
        self._values: dict[Node, list[Any]] = {}

    def run_to(self, node: Node) -> None:
        """Execute up to and including a node; nothing when it has been executed."""
        if node in self._waiting:
            while self._step() is not node:
                pass

    def value(self, node: Node) -> list[Tensor]:
        """A node's value for each batch."""
        return self._values[node]

    def has(self, node: Node) -> bool:
        """Whether a node was executed and its value is still alive."""
        return node in self._values

    def release(self, node: Node) -> None:
        """Give up one pin."""
        self._forget(node)

    def _step(self) -> Node:
        node = self._waiting.pop(0)
        with torch.no_grad():
            self._values[node] = [self._execute(node, index) for index in range(len(self._batches))]
        for value in node.all_input_nodes:
            self._forget(value)
        return node

    def _execute(self, node: Node, index: int) -> Any:
        if node.op == "placeholder":
            return self._batches[index]
        if node.op == "get_attr":
            return attribute(self._program.module, str(node.target))
        arguments, keywords = torch.fx.map_arg(
            (node.args, node.kwargs), lambda value: self._values[value][index]
        )
        assert callable(node.target)
        return node.target(*arguments, **keywords)

    def _forget(self, node: Node) -> None:
        self._readers[node] -= 1
        if self._readers[node] <= 0:
            self._values.pop(node, None)

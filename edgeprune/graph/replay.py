"""Replay: execute a program node by node over many batches, and look at values on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.utils._pytree import tree_leaves

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
    """A program executed over many batches, one batch after the other from stop to stop.

    Values die after their last reader, unless `pinned` names them: those live until released. Between
    two stops only one batch's values exist beside those that are read later. `watch` is told of every
    value when it is computed, with the number of its batch.
    """

    def __init__(
        self,
        program: Program,
        batches: Sequence[Tensor],
        pinned: Iterable[Node] = (),
        watch: Callable[[int, Node, Any], None] = lambda batch, node, value: None,
    ) -> None:
        self._program = program
        self._batches = list(batches)
        self._watch = watch
        self._waiting: list[Node] = [node for node in program.graph.nodes if node.op != "output"]
        self._readers = Counter(value for node in program.graph.nodes for value in node.all_input_nodes)
        self._readers.update(pinned)
        self._values: list[dict[Node, Any]] = [{} for _ in self._batches]

    def run_to(self, node: Node) -> None:
        """Execute up to and including a node; nothing when it has been executed."""
        if node not in self._waiting:
            return
        count = self._waiting.index(node) + 1
        steps, self._waiting = self._waiting[:count], self._waiting[count:]
        with torch.no_grad():
            for batch, values in enumerate(self._values):
                readers = self._readers.copy()
                for step in steps:
                    self._step(step, batch, values, readers)
        for step in steps:
            self._readers.subtract(step.all_input_nodes)

    def value(self, node: Node) -> list[Tensor]:
        """A node's value for each batch."""
        return [values[node] for values in self._values]

    def has(self, node: Node) -> bool:
        """Whether a node was executed and its value is still alive."""
        return all(node in values for values in self._values)

    def change(self, node: Node, by: Callable[[Tensor], Tensor]) -> None:
        """Put something else in the place of a value that is alive."""
        for values in self._values:
            values[node] = by(values[node])

    def put(self, node: Node, values: Sequence[Tensor]) -> None:
        """Put other values in the place of those that are alive, batch by batch."""
        for held, value in zip(self._values, values, strict=True):
            held[node] = value

    def release(self, node: Node) -> None:
        """Give up one pin."""
        self._readers[node] -= 1
        if self._readers[node] <= 0:
            for values in self._values:
                values.pop(node, None)

    def held_bytes(self) -> int:
        """Memory of the values that are alive; views of one storage count once."""
        storages = {
            leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
            for values in self._values
            for node, value in values.items()
            if node.op != "get_attr"
            for leaf in tree_leaves(value)
            if isinstance(leaf, Tensor)
        }
        return sum(storages.values())

    def _step(self, node: Node, batch: int, values: dict[Node, Any], readers: Counter[Node]) -> None:
        value = values[node] = self._execute(node, batch, values)
        self._watch(batch, node, value)
        readers.subtract(node.all_input_nodes)
        for one in (node, *node.all_input_nodes):
            if readers[one] <= 0:
                values.pop(one, None)

    def _execute(self, node: Node, batch: int, values: dict[Node, Any]) -> Any:
        if node.op == "placeholder":
            return self._batches[batch]
        if node.op == "get_attr":
            return attribute(self._program.module, str(node.target))
        arguments, keywords = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
        assert callable(node.target)
        return node.target(*arguments, **keywords)

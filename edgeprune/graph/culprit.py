"""Culprit: the operator at which a converter gave up, with the user's line behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from edgeprune.graph.nodes import operator_name, source_of

Attempt = Callable[[ExportedProgram], object]
"""Tries to convert a program; raises whatever the converter raises."""

_NAMED = re.compile(r"%(\w+) : \[num_users=\d+\] = call_function\[target=(?:torch\.ops\.)?([\w.]+)\]")


def culprit(program: ExportedProgram, example: Tensor, error: BaseException, attempt: Attempt) -> str:
    """`aten.cumprod (model.py:47)`: what the converter named, or else the first operator it cannot pass.

    Converters name operators of their own decompositions, or none: then ever shorter beginnings of the
    program are converted, about ten of them for a thousand operators. '' where even that finds nothing.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    node = _named(module.graph, error) or _first_refused(module, example, attempt)
    if node is None:
        return ""
    line = source_of(node)
    return operator_name(node).removesuffix(".default") + (f" ({line})" if line else "")


def reason(error: BaseException) -> str:
    """The innermost thing a chain of errors says, in one line."""
    *_, innermost = _chain(error)
    text = str(innermost).strip()
    return text.splitlines()[0].rstrip(".") if text else type(innermost).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _named(graph: Graph, error: BaseException) -> Node | None:
    found = [pair for one in _chain(error) for pair in _NAMED.findall(str(one))]
    for name, operator in reversed(found):
        alike: list[Node] = [node for node in graph.nodes if operator_name(node) == operator]
        exact = [node for node in alike if node.name == name]
        if exact or len(alike) == 1:
            return (exact or alike)[0]
    return None


def _first_refused(module: GraphModule, example: Tensor, attempt: Attempt) -> Node | None:
    """The node that ends the shortest beginning of the program that does not convert."""
    nodes = [node for node in module.graph.nodes if node.op == "call_function" and _answers(node)]
    passed, refused = -1, len(nodes)
    while refused - passed > 1:
        middle = (passed + refused) // 2
        if _converts(_until(module, nodes[middle]), example, attempt):
            passed = middle
        else:
            refused = middle
    return nodes[refused] if refused < len(nodes) else None


def _answers(node: Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _until(module: GraphModule, last: Node) -> GraphModule:
    """A copy of the program that ends with the value of one node."""
    graph, copied = Graph(), dict[Node, Node]()
    for node in module.graph.nodes:
        copied[node] = graph.node_copy(node, copied.__getitem__)
        if node is last:
            break
    graph.output(copied[last])
    graph.eliminate_dead_code()
    return GraphModule(module, graph)


def _converts(beginning: GraphModule, example: Tensor, attempt: Attempt) -> bool:
    try:
        attempt(torch.export.export(beginning, (example,)))
    except Exception:
        return False
    return True

"""Train mode for a captured program: the flags that evaluation froze, flipped in its graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import operator_name, set_argument

# Position of the `training` flag among an operator's arguments.
_FLAGS = {"aten.batch_norm.default": 5, "aten.dropout.default": 2, "aten.instance_norm.default": 5}


@contextmanager
def training(program: Program) -> Iterator[None]:
    """Batch norms use and update batch statistics, dropout drops; undone at the end."""
    flagged = [node for node in program.graph.nodes if operator_name(node) in _FLAGS]
    _set(program, flagged, True)
    try:
        yield
    finally:
        _set(program, flagged, False)


def _set(program: Program, nodes: list[Node], flag: bool) -> None:
    for node in nodes:
        set_argument(node, _FLAGS[operator_name(node)], flag)
    program.module.recompile()

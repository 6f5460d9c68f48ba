"""Sensitivity: what the network's answers lose when some of its tensors are replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Interpreter, Node

from edgeprune.graph.capture import Program
from edgeprune.graph.device import channels_last

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Names of the tensors that change, and their values, worked out when the trial's turn comes."""

    tensors: tuple[str, ...]
    values: Callable[[], Mapping[str, Tensor]]


def divergences(
    program: Program,
    trials: Sequence[Trial],
    inputs: Tensor,
    done: Callable[[], None] = lambda: None,
) -> list[float]:
    """For each trial the squared change of the outputs over their squared deviations from their mean.

    Everything that comes before the first changed tensor is computed once for all trials, in one walk
    through the graph; the program is as it was afterwards.
    """
    walk = _Walk(program)
    if channels_last(program):  # a quarter less on a CPU
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    starts = [walk.first_reader(trial.tensors) for trial in trials]
    found = [0.0] * len(trials)
    with torch.no_grad():
        expected = walk.run({}, 0, inputs)
        spread = float((expected - expected.mean(0)).square().sum()) or 1.0
        values: dict[Node, Any] = {}
        at = 0
        for index in np.argsort(starts, kind="stable"):
            walk.run(values, at, inputs, stop=starts[index])
            at = starts[index]
            with _replaced(program, trials[index].values()):
                answer = walk.run(dict(values), at, inputs)
            found[index] = float((answer - expected).square().sum()) / spread
            done()
    return found


def rescaled(curve: Floats, measured: Mapping[int, float]) -> Floats:
    """A harm curve brought to the scale of what was measured at some of its points, never falling.

    Between the points the logarithm of measured over predicted is interpolated: the curve keeps its
    shape, the measurements say how much it weighs.
    """
    points = sorted(measured)
    tiny = np.finfo(np.float64).tiny
    ratios = np.log([max(measured[k], tiny) / max(curve[k], tiny) for k in points])
    factors = np.exp(np.interp(np.arange(len(curve)), points, ratios))
    return np.asarray(np.maximum.accumulate(curve * factors))


class _Walk(Interpreter):
    """A program run from any node on, given the values that are alive there."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.module)
        self._nodes = list(program.graph.nodes)
        self._numbers = {node: index for index, node in enumerate(self._nodes)}

    def first_reader(self, tensors: Sequence[str]) -> int:
        """Number of the first node that computes with one of the tensors."""
        named = set(tensors)
        return min(
            self._numbers[user]
            for node in self._nodes
            if node.op == "get_attr" and str(node.target) in named
            for user in node.users
        )

    def run(  # type: ignore[override]
        self, values: dict[Node, Any], start: int, inputs: Tensor, stop: int | None = None
    ) -> Any:
        """Execute the nodes from `start` up to `stop` (the end without); `values` gains and loses entries."""
        self.env = values
        for node in self._nodes[start:stop]:
            if node.op == "output":
                (answer,) = torch.utils._pytree.tree_leaves(self.map_nodes_to_values(node.args[0], node))
                return answer
            values[node] = inputs if node.op == "placeholder" else self.run_node(node)
            for last in self.user_to_last_uses.get(node, []):
                values.pop(last, None)
        return None


@contextmanager
def _replaced(program: Program, values: Mapping[str, Tensor]) -> Iterator[None]:
    tensors = program.tensors()  # changed in place: a walk may hold them already
    saved = {name: tensors[name].clone() for name in values}
    try:
        for name, value in values.items():
            tensors[name].copy_(value)
        yield
    finally:
        for name, value in saved.items():
            tensors[name].copy_(value)

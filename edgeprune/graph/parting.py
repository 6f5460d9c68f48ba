"""Parting: the first operator of a file whose answer the captured program has nowhere.

Names do not survive a converter: norms are folded, axes moved, operators fused or split. Values do. So each
operator's answer to one input is looked for among all values of the program, whatever the order of the axes;
the first that is not there, although all before it on its way were, is where the two part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.operator import Operator, Step
from edgeprune.graph.capture import Program
from edgeprune.graph.replay import observe

_MOST_AXES = 5
"""Values with more axes are compared as they lie: their orders are too many."""


def parted(
    program: Program, inputs: NDArray[np.float32], steps: Sequence[Step], tolerance: float
) -> Operator | None:
    """The operator where a file parts from the program; None where every answer is found.

    Parameters
    ----------
    inputs : array of shape (1, channels, ...)
        What both are asked.
    steps : of Step
        The file's operators in the order they ran, with what they answered.
    tolerance : float
        Largest difference over the largest value at which two values count as equal.
    """
    known = _Known(program, inputs)
    strangers: set[str] = set()
    for step in steps:
        if known.has(step.answer, tolerance):
            continue
        # A fused operator's first half is in no program; it parts only if what it makes is not there either.
        strangers |= {step.output}
    last = steps[-1]
    if last.output not in strangers:
        return None
    return _first_lost(steps, strangers)


def _first_lost(steps: Sequence[Step], strangers: set[str]) -> Operator:
    """The first stranger from which only strangers follow: later answers are all wrong because of it."""
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    lost: set[str] = set()
    for step in reversed(steps):
        following = readers.get(step.output, [])
        if step.output in strangers and all(one.output in lost for one in following):
            lost.add(step.output)
    return next(step.operator for step in steps if step.output in lost)


class _Known:
    """The values a program computes for one input, by their number of elements."""

    def __init__(self, program: Program, inputs: NDArray[np.float32]) -> None:
        self._by_size: dict[int, list[NDArray[np.float32]]] = {}
        self._note(inputs)
        nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        observe(program, torch.from_numpy(inputs), nodes, lambda node, value: self._see(value))

    def _see(self, value: object) -> None:
        for one in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(one, Tensor) and one.is_floating_point():
                self._note(one.detach().float().numpy())

    def _note(self, value: NDArray[np.float32]) -> None:
        self._by_size.setdefault(value.size, []).append(value)

    def has(self, answer: NDArray[np.generic], tolerance: float) -> bool:
        """Whether some value equals an answer, axes of any order; what is no float is taken for known."""
        if not np.issubdtype(answer.dtype, np.floating):
            return True
        found = _squeezed(answer)
        candidates = (_squeezed(one) for one in self._by_size.get(answer.size, []))
        return any(_alike(found, one, tolerance) for one in candidates)


def _squeezed(value: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(np.squeeze(value), np.float64)


def _alike(found: NDArray[np.float64], known: NDArray[np.float64], tolerance: float) -> bool:
    if not np.isfinite(found).all():
        return False
    allowed = tolerance * (float(np.abs(known).max(initial=0)) or 1.0)
    if found.ndim != known.ndim or found.ndim > _MOST_AXES:
        return bool(np.abs(found.reshape(-1) - known.reshape(-1)).max(initial=0) <= allowed)
    orders = [
        order for order in permutations(range(known.ndim)) if known.transpose(order).shape == found.shape
    ]
    return any(float(np.abs(found - known.transpose(order)).max(initial=0)) <= allowed for order in orders)

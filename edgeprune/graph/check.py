"""The oracle: a shrunk program must equal the original with the cut channels silenced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink

TOLERANCE = 1e-9
"""Largest relative output difference in float64; rounding stays three orders of magnitude below."""
INPUTS = 2

# A wrong cut surfaces as whatever meets it first: a rewrite, the graph's own check, an operator.
_SURGERY_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError)

Shrink = Callable[[Coupling, tuple[Cut, ...]], Program]


@dataclass(frozen=True, slots=True)
class Proven:
    """A shrunk program that passed, the cuts it has, and what was refused on the way."""

    program: Program
    cuts: tuple[Cut, ...]
    relative_error: float
    refused: dict[str, str]


def prove(coupling: Coupling, cuts: tuple[Cut, ...], *, operate: Shrink = shrink) -> Proven:
    """Shrink and compare; groups that fail are found by bisection, left whole, and named.

    `operate` is the surgery under test.
    """
    refused: dict[str, str] = {}
    while True:
        remaining = tuple(cut for cut in cuts if cut.group not in refused)
        answer = _attempt(coupling, remaining, operate)
        if isinstance(answer, _Passed):
            return Proven(answer.program, remaining, answer.relative_error, refused)
        assert remaining, f"a copy without any cut fails: {answer}"
        found = _culprits(coupling, remaining, operate)
        # Cuts that fail only together are all refused: what cannot be proven is not done.
        refused |= found or dict.fromkeys((cut.group for cut in remaining), answer)


@dataclass(frozen=True, slots=True)
class _Passed:
    program: Program
    relative_error: float


def _attempt(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> _Passed | str:
    """The shrunk program if it answers like the silenced original, else why not."""
    example = coupling.program.example(INPUTS, dtype=torch.float64)
    silenced = _double(coupling.program, _silenced(coupling, cuts)).run(example)
    try:
        program = operate(coupling, cuts)
        shrunk = _double(program, program.tensors()).run(example)
    except _SURGERY_ERRORS as problem:
        first_line = next(iter(str(problem).splitlines()), type(problem).__name__)
        return f"the shrunk network does not run: {first_line}"
    if shrunk.shape != silenced.shape:
        return f"its answers have shape {tuple(shrunk.shape)}, not {tuple(silenced.shape)}"
    scale = float(silenced.abs().max()) or 1.0
    error = float((shrunk - silenced).abs().max()) / scale
    # Written so that NaN fails.
    if not error <= TOLERANCE:
        return f"its answers differ by {error:.1e} (relative, float64)"
    return _Passed(program, error)


def _culprits(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> dict[str, str]:
    """The single groups that fail, by halving."""
    why = _attempt(coupling, cuts, operate)
    if isinstance(why, _Passed):
        return {}
    if len(cuts) == 1:
        return {cuts[0].group: why}
    middle = len(cuts) // 2
    return _culprits(coupling, cuts[:middle], operate) | _culprits(coupling, cuts[middle:], operate)


def _silenced(coupling: Coupling, cuts: tuple[Cut, ...]) -> dict[str, Tensor]:
    """The original's tensors with every consumer's view of a cut index set to zero."""
    narrowed = coupling.narrowed(cuts)
    tensors = {name: tensor.detach().clone() for name, tensor in coupling.program.tensors().items()}
    for consumption in coupling.consumptions:
        labels = coupling.tensors[consumption.tensor][consumption.axis]
        assert labels is not None
        gone = torch.from_numpy(np.flatnonzero(~narrowed.kept[labels]))
        tensors[consumption.tensor].index_fill_(consumption.axis, gone, 0)
    return tensors


def _double(program: Program, tensors: dict[str, Tensor]) -> Program:
    done = {
        id(tensor): tensor.detach().double() if tensor.is_floating_point() else tensor
        for tensor in tensors.values()
    }
    module = rebuild(program, {name: done[id(tensor)] for name, tensor in tensors.items()})
    # Casts inside the network would bring single precision back.
    for node in module.graph.nodes:
        node.args, node.kwargs = map_aggregate((node.args, node.kwargs), _widened)
    module.recompile()
    return Program(module, program.input_size)


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value

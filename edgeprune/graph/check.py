"""The oracle: a shrunk program must equal the original with the cut channels silenced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink

TOLERANCE = 1e-9
"""Largest relative output difference in float64; rounding stays three orders of magnitude below."""
INPUTS = 2

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
        why, error = _failure(coupling, remaining, operate)
        if why is None:
            return Proven(operate(coupling, remaining), remaining, error, refused)
        found = _culprits(coupling, remaining, operate)
        # Cuts that fail only together are all refused: what cannot be proven is not done.
        refused |= found or dict.fromkeys((cut.group for cut in remaining), why)


def relative_error(coupling: Coupling, cuts: tuple[Cut, ...], *, operate: Shrink = shrink) -> float:
    """Largest output difference in float64, over the largest silenced output."""
    example = coupling.program.example(INPUTS, dtype=torch.float64)
    silenced = _double(coupling.program, _silenced(coupling, cuts)).run(example)
    shrunk_program = operate(coupling, cuts)
    shrunk = _double(shrunk_program, shrunk_program.tensors()).run(example)
    if shrunk.shape != silenced.shape:
        return float("inf")
    scale = float(silenced.abs().max()) or 1.0
    return float((shrunk - silenced).abs().max()) / scale


def _failure(
    coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink
) -> tuple[str | None, float]:
    try:
        error = relative_error(coupling, cuts, operate=operate)
    except RuntimeError as problem:  # a wrong shape surfaces as whatever operator meets it first
        return f"the shrunk network does not run: {str(problem).splitlines()[0]}", float("inf")
    if not error <= TOLERANCE:
        return f"its answers differ by {error:.1e} (relative, float64)", error
    return None, error


def _culprits(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> dict[str, str]:
    """The single groups that fail, by halving."""
    why, _ = _failure(coupling, cuts, operate)
    if why is None:
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
    wide = {
        name: tensor.detach().double() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    return Program(rebuild(program, wide), program.input_size)

"""The oracle: a shrunk program must equal the original with the cut channels silenced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves

from edgeprune.core.plan import Cut
from edgeprune.graph.arrange import arranged_for
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Narrowed
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.rules import RULES
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
    stirred = _stirred(coupling)
    refused: dict[str, str] = {}
    while True:
        remaining = tuple(cut for cut in cuts if cut.group not in refused)
        answer = _attempt(stirred, remaining, operate)
        if isinstance(answer, float):
            return Proven(operate(coupling, remaining), remaining, answer, refused)
        assert remaining, f"a copy without any cut fails: {answer}"
        refused |= _culprits(stirred, remaining, operate) or _last_straw(stirred, remaining, operate)


def _stirred(coupling: Coupling) -> Coupling:
    """The same network with values for the parameters that have none yet.

    Gains of zero, layer scales of 1e-6 and fresh norms would hide a wrong cut: what is constant is
    replaced by numbers that differ. The user's tensors are left alone.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = coupling.program.tensors()
    done: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in done:
            done[id(tensor)] = (
                torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5
                if _is_constant(tensor)
                else tensor.detach()
            )
    module = rebuild(coupling.program, {name: done[id(tensor)] for name, tensor in tensors.items()})
    return replace(coupling, program=Program(module, coupling.program.inputs))


def _is_constant(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 1 and bool(tensor.min() == tensor.max())


def _attempt(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> float | str:
    """The relative error if the shrunk program answers like the silenced original, else why it does not."""
    examples = coupling.program.examples(INPUTS, dtype=torch.float64)
    whole = arranged_for(coupling, cuts)
    if whole is not coupling:
        before, after = (_Double(one.program).answers(examples) for one in (coupling, whole))
        moved = float(np.max([0.0, *map(_difference, before, after)]))
        if not moved <= TOLERANCE:
            return f"channels that changed places change its answers by {moved:.1e} (relative, float64)"
    expected = _Silenced(whole, whole.narrowed(cuts)).answers(examples)
    try:
        found = _Double(operate(coupling, cuts)).answers(examples)
    except _SURGERY_ERRORS as problem:
        first_line = next(iter(str(problem).splitlines()), type(problem).__name__)
        return f"the shrunk network does not run: {first_line}"
    differences = [0.0]
    for silenced, shrunk in zip(expected, found, strict=True):
        if shrunk.shape != silenced.shape:
            return f"its answers have shape {tuple(shrunk.shape)}, not {tuple(silenced.shape)}"
        differences.append(_difference(silenced, shrunk))
    # NaN must fail: numpy's max keeps it, Python's may lose it.
    worst = float(np.max(differences))
    if not worst <= TOLERANCE:
        return f"its answers differ by {worst:.1e} (relative, float64)"
    return worst


def _difference(expected: Tensor, found: Tensor) -> float:
    """Largest absolute difference, relative to the largest absolute value expected."""
    if not expected.numel():
        return 0.0
    scale = float(expected.abs().max()) or 1.0
    return float((found - expected).abs().max()) / scale


def _culprits(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> dict[str, str]:
    """The single groups that fail, by halving."""
    why = _attempt(coupling, cuts, operate)
    if isinstance(why, float):
        return {}
    if len(cuts) == 1:
        return {cuts[0].group: why}
    middle = len(cuts) // 2
    return _culprits(coupling, cuts[:middle], operate) | _culprits(coupling, cuts[middle:], operate)


def _last_straw(coupling: Coupling, cuts: tuple[Cut, ...], operate: Shrink) -> dict[str, str]:
    """Where cuts fail only together: the first one that those before it cannot bear."""
    passing, failing = 0, len(cuts)
    while failing - passing > 1:
        middle = (passing + failing) // 2
        if isinstance(_attempt(coupling, cuts[:middle], operate), float):
            passing = middle
        else:
            failing = middle
    why = _attempt(coupling, cuts[:failing], operate)
    return {cuts[failing - 1].group: f"together with others, {why}"}


class _Double(Interpreter):
    """Runs a program in double precision, whatever its weights and casts say, one tensor at a time."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.module)

    def answers(self, examples: Sequence[Tensor]) -> list[Tensor]:
        """All output tensors, those of no floating type included."""
        with torch.no_grad():
            output = self.run(*examples, enable_io_processing=False)
        return [one.double() for one in tree_leaves(output) if isinstance(one, Tensor)]

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        # Casts inside the network would bring single precision back.
        args, kwargs = map_aggregate((args, kwargs), _widened)
        return super().call_function(target, args, kwargs)


class _Silenced(_Double):
    """The original at full width, in which whatever reads a cut index finds a zero."""

    def __init__(self, coupling: Coupling, narrowed: Narrowed) -> None:
        super().__init__(coupling.program)
        self._coupling, self._narrowed = coupling, narrowed
        # By name: the program may be a copy of the one that was coupled.
        twins = {node.name: node for node in coupling.program.graph.nodes}
        self._readings: dict[str, list[tuple[Node, int]]] = {}
        for reading in coupling.readings:
            pair = (twins[reading.source.name], reading.axis)
            self._readings.setdefault(reading.node.name, []).append(pair)
        self._without = {
            block.total.name: twins[block.branch.name]
            for label, block in coupling.blocks.items()
            if not narrowed.kept[label]
        }

    def run_node(self, n: Node) -> Any:
        branch = self._without.get(n.name)
        if branch is not None:
            skip = next(value for value in n.all_input_nodes if value is not branch)
            return self.env[skip] + 0.0 * self.env[branch]
        rule = RULES.get(operator_name(n))
        if rule is not None and rule.ignoring is not None and self._is_cut(n):
            args, _ = self.fetch_args_kwargs_from_env(n)
            return rule.ignoring(n, self._narrowed, args)
        read = self._readings.get(n.name, ())
        whole = {source: self.env[source] for source, _ in read}
        for source, axis in read:
            self._silence(source, axis)
        try:
            return super().run_node(n)
        finally:
            self.env.update(whole)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        for axis in range(value.ndim if isinstance(value, Tensor) else 0):
            if (str(target), axis) in self._coupling.silenced:
                labels = self._coupling.tensors[str(target)][axis]
                assert labels is not None
                gone = torch.from_numpy(np.flatnonzero(~self._narrowed.kept[labels]))
                value = value.index_fill(axis, gone, 0)
        return value

    def _is_cut(self, n: Node) -> bool:
        axes = self._narrowed.axes[n.name]
        return isinstance(axes, tuple) and any(self._narrowed.is_cut(labels) for labels in axes)

    def _silence(self, source: Node, axis: int) -> None:
        labels = self._narrowed.of(source)[axis]
        if labels is None or not self._narrowed.is_cut(labels):
            return
        value = self.env[source]
        stays = torch.from_numpy(self._narrowed.kept[labels])
        # An axis that the batch is merged into repeats its labels once per sample.
        stays = stays.repeat(value.shape[axis] // len(stays))
        shape = [-1 if place == axis else 1 for place in range(value.ndim)]
        self.env[source] = torch.where(stays.reshape(shape), value, 0.0)


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value

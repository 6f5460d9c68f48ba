"""Narrowing: what cuts leave of every tensor, by name and axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.errors import GateError
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.plan import Cut
from edgeprune.graph.arrange import moves_of
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Axes, Narrowed
from edgeprune.graph.lanes import Moves


def narrowings(coupling: Coupling, cuts: Sequence[Cut]) -> dict[str, Narrowing]:
    """The tensors that become narrower, and what stays of them.

    Raises
    ------
    DocumentError
        A cut names an unknown or locked group, or another number of units.
    """
    narrowed = coupling.narrowed(cuts)
    # What export lifts out of the code (constants, plain attributes) is in no state dict.
    persistent = coupling.program.module.state_dict().keys()
    gone = dropped(coupling, cuts)
    moved = moves_of(coupling, cuts)
    found = {}
    for name, tensor in coupling.program.tensors().items():
        if name in gone:
            continue
        kept = _kept(coupling.tensors[name], narrowed)
        if kept:
            kept, blocks = _before_moves(kept, moved.get(name))
            found[name] = Narrowing(
                shape=tuple(tensor.shape), kept=kept, blocks=blocks, persistent=name in persistent
            )
    return found


def dropped(coupling: Coupling, cuts: Sequence[Cut]) -> tuple[str, ...]:
    """Names of the parameters and buffers that go because their whole branch goes."""
    narrowed = coupling.narrowed(cuts)
    return tuple(
        str(node.target)
        for node in coupling.program.graph.nodes
        if node.op == "get_attr" and not coupling.runs(node, narrowed)
    )


def carry_over(
    wider: Program, narrower: Program, before: Mapping[str, Narrowing], after: Mapping[str, Narrowing]
) -> Program:
    """Put the values of a wider network into a narrower one, both cut from the same; returns the latter.

    Parameters
    ----------
    before, after : mapping
        What stays of the common origin's tensors in the wider and in the narrower network.

    Raises
    ------
    GateError
        The narrower one keeps what the wider has not.
    """
    values = wider.tensors()
    with torch.no_grad():
        for name, tensor in narrower.tensors().items():
            # Positions to pick are the graph's own constants: surgery has worked them out.
            if tensor.is_floating_point():
                tensor.copy_(_part(name, values[name], before.get(name), after.get(name)))
    return narrower


def _part(name: str, value: Tensor, before: Narrowing | None, after: Narrowing | None) -> Tensor:
    if before is not None:
        full = torch.zeros(before.shape, dtype=value.dtype)
        there = before.put_back(torch.ones_like(value), full).bool()
        if not (there if after is None else after.of(there)).all():
            raise GateError(
                f"'{name}' was cut in one round and cannot stay so beside what the next one cuts",
                hint="cut at once: leave --rounds out",
            )
        value = before.put_back(value, full)
    return value if after is None else cast(Tensor, after.of(value))


def _before_moves(
    kept: dict[int, tuple[int, ...]], moves: Moves | None
) -> tuple[dict[int, tuple[int, ...]], tuple[tuple[int, ...], ...]]:
    """Where the indices that stay came from, and what axis 1 keeps in each block of axis 0."""
    if moves is None:
        return kept, ()
    came = {
        axis: tuple(moves.axes[axis][list(stays)].tolist()) if axis in moves.axes else stays
        for axis, stays in kept.items()
    }
    if moves.blocks is None or 1 not in kept:
        return came, ()
    blocks = tuple(tuple(row) for row in moves.blocks[:, list(kept[1])].tolist())
    return {**came, 1: blocks[0]}, blocks


def _kept(axes: Axes, narrowed: Narrowed) -> dict[int, tuple[int, ...]]:
    kept = {}
    for axis, labels in enumerate(axes):
        if labels is not None and not narrowed.kept[labels].all():
            kept[axis] = tuple(np.flatnonzero(narrowed.kept[labels]).tolist())
    return kept

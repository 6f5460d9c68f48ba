"""Narrowing: what cuts leave of every tensor, by name and axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.errors import GateError
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Axes, Narrowed


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
    found = {}
    for name, tensor in coupling.program.tensors().items():
        if name in gone:
            continue
        kept = _kept(coupling.tensors[name], narrowed)
        if kept:
            found[name] = Narrowing(shape=tuple(tensor.shape), kept=kept, persistent=name in persistent)
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
    kept_before, kept_after = (one.kept if one is not None else {} for one in (before, after))
    for axis in kept_before.keys() | kept_after.keys():
        here = np.asarray(kept_before.get(axis, range(value.shape[axis])))
        shape = (before or after or Narrowing(shape=tuple(value.shape), kept={})).shape
        wanted = np.asarray(kept_after.get(axis, range(shape[axis])))
        if not np.isin(wanted, here).all():
            raise GateError(
                f"'{name}' was cut in one round and cannot stay so beside what the next one cuts",
                hint="cut at once: leave --rounds out",
            )
        value = value.index_select(axis, torch.from_numpy(np.searchsorted(here, wanted)))
    return value


def _kept(axes: Axes, narrowed: Narrowed) -> dict[int, tuple[int, ...]]:
    kept = {}
    for axis, labels in enumerate(axes):
        if labels is not None and not narrowed.kept[labels].all():
            kept[axis] = tuple(np.flatnonzero(narrowed.kept[labels]).tolist())
    return kept

"""Narrowing: what cuts leave of every tensor, by name and axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.core.narrowing import Narrowing
from edgeprune.core.plan import Cut
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


def _kept(axes: Axes, narrowed: Narrowed) -> dict[int, tuple[int, ...]]:
    kept = {}
    for axis, labels in enumerate(axes):
        if labels is not None and not narrowed.kept[labels].all():
            kept[axis] = tuple(np.flatnonzero(narrowed.kept[labels]).tolist())
    return kept

"""Dead units: channels that nothing reads any more, or that nothing reaches, once connections are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.group import Group, Slice
from edgeprune.core.plan import Cut
from edgeprune.core.sparsity import Mask
from edgeprune.graph.connections import layers
from edgeprune.graph.couple import Coupling
from edgeprune.graph.unit_weights import unit_rows


def without_dead(coupling: Coupling, masks: Mapping[str, Mask], *, constants: bool) -> dict[str, Mask]:
    """The masks without connections that make no difference.

    Such are those into a unit that nothing reads. Those out of a unit that nothing reaches carry a
    constant, which a bias can take over while training: they go where `constants` says so.
    """
    found = {name: torch.from_numpy(mask.copy()) for name, mask in masks.items()}
    groups = _followed(coupling)
    before = -1
    while before != (before := sum(int(mask.sum()) for mask in found.values())):
        for group in groups:
            makers, readers = group.of_role("producer"), group.of_role("consumer")
            dead = ~_touched(found, readers, group.units)
            if constants:
                dead |= ~_touched(found, makers, group.units)
            for piece in group.slices:
                if piece.tensor in found and (~dead).any():
                    index = torch.from_numpy(piece.indices[dead].ravel())
                    found[piece.tensor].index_fill_(piece.axis, index, False)
    return {name: mask.numpy() for name, mask in found.items()}


def dead_cuts(coupling: Coupling) -> tuple[Cut, ...]:
    """The units that nothing reads: every weight in their place is zero, so that they can go exactly."""
    tensors = coupling.program.tensors()
    weights = {layer.weight: tensors[layer.weight].detach() != 0 for layer in layers(coupling.program)}
    cuts = []
    for group in _followed(coupling):
        alive = _touched(weights, group.of_role("consumer"), group.units)
        if alive.any() and not alive.all():
            kept = tuple(np.flatnonzero(alive).tolist())
            cuts.append(Cut(group=group.id, units=group.units, kept=kept))
    return tuple(cuts)


def _followed(coupling: Coupling) -> list[Group]:
    """Free groups of channels that weights read and nothing else."""
    summed = np.zeros(int(coupling.class_of.max(initial=-1)) + 1, dtype=bool)
    for reading in coupling.readings:
        labels = coupling.axes[reading.source.name][reading.axis]
        assert isinstance(labels, np.ndarray)
        summed[coupling.class_of[labels]] = True
    return [
        group
        for group in coupling.free("channels")
        if group.of_role("consumer") and not summed[coupling.unit_classes[group.id]].any()
    ]


def _touched(masks: Mapping[str, Tensor], pieces: Sequence[Slice], units: int) -> NDArray[np.bool_]:
    """Units with a connection in one of the slices; all, where a slice's connections are not known."""
    if not all(piece.tensor in masks for piece in pieces):
        return np.ones(units, dtype=bool)
    found = [unit_rows(masks[piece.tensor], piece).any((1, 2)) for piece in pieces]
    return np.asarray(np.any(found, axis=0)) if found else np.ones(units, dtype=bool)

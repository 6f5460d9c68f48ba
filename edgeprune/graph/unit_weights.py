"""Unit weights: the part of every parameter that belongs to each unit of a group."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.group import Group, Role, Slice
from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import norm_tensors
from edgeprune.graph.nodes import operator_name

Floats = NDArray[np.float64]


class UnitWeights:
    """The trained values of a program, unit by unit."""

    def __init__(self, program: Program) -> None:
        self._tensors = program.tensors()
        norms = [
            names
            for node in program.graph.nodes
            if operator_name(node) == "aten.batch_norm.default" and (names := norm_tensors(node))
        ]
        self._gains = {gain for gain, _, _, _ in norms}
        self._statistics = {name for _, _, *both in norms for name in both}

    def of(self, group: Group, roles: Iterable[Role]) -> list[Floats]:
        """One array per slice of some roles, shape (units, width, the other axes flattened).

        Running statistics are measured, not trained, and are left out; a tied parameter comes once.
        """
        wanted = set(roles)
        found: dict[tuple[int, int], Floats] = {}
        for piece in group.slices:
            if piece.role in wanted and piece.tensor not in self._statistics:
                tensor = self._tensors[piece.tensor]
                found.setdefault((id(tensor), piece.axis), unit_rows(tensor, piece))
        return list(found.values())

    def magnitude(self, group: Group, order: float) -> Floats:
        """Mean l-`order` norm of each unit's producing weights, shape (units,)."""
        norms = [
            np.linalg.norm(rows, order, axis=2).mean(1)
            for piece in group.of_role("producer")
            for rows in [unit_rows(self._tensors[piece.tensor], piece)]
        ]
        return np.asarray(np.mean(norms, axis=0), dtype=np.float64)

    def group_norm(self, group: Group) -> Floats:
        """Euclidean norm over all slices of each unit, shape (units,) (DepGraph, Fang et al. 2023).

        The weights that make the unit, those that read it, and its per-channel parameters.
        """
        slices = self.of(group, ("producer", "consumer", "attached"))
        return np.asarray(np.sqrt(sum(np.square(rows).sum((1, 2)) for rows in slices)), dtype=np.float64)

    def gains(self, group: Group) -> Floats | None:
        """Mean absolute batch-norm gain of each unit, shape (units,); None without batch norm."""
        found = [
            np.abs(unit_rows(self._tensors[piece.tensor], piece)).mean((1, 2))
            for piece in group.of_role("attached")
            if piece.tensor in self._gains
        ]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64) if found else None


def unit_rows(tensor: Tensor, piece: Slice) -> Floats:
    """A slice of a tensor in float64, shape (units, width, the other axes flattened)."""
    per_index = tensor.detach().double().movedim(piece.axis, 0).reshape(tensor.shape[piece.axis], -1)
    return np.asarray(per_index.numpy()[piece.indices], dtype=np.float64)

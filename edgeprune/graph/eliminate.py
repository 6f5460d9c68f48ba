"""Elimination: what removing units costs after every reader has been refitted to their absence.

Block-wise optimal brain surgeon (Hassibi & Stork 1993) on the second moments of the readers'
inputs: the error of the best refit without a block S is the trace of W_S (H^-1_SS)^-1 W_S^T, and
removing S updates W and H^-1 in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1e-4
_SMALL = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """One layer that reads the group, in blocks that have nothing to do with each other.

    `inverse` (blocks, columns, columns): inverse of its ridged input moments; `weight` (blocks, columns,
    out): scaled so that squared errors are in units of harm; `columns` (units, width): where each unit is
    in every block.
    """

    inverse: Tensor
    weight: Tensor
    columns: Tensor


def eliminate(
    readers: Sequence[Reader], units: int, order: Sequence[int] | None = None
) -> tuple[list[int], NDArray[np.float64]]:
    """Remove all units but one, in `order` or always the cheapest next.

    Returns
    -------
    The order of removal (all units; the last one is never removed), and the harm after removing
    the first k of them, k = 0 .. units - 1.
    """
    with _threads_for(readers):
        return _eliminate([_Remainder(reader) for reader in readers], units, order)


def harm_without(readers: Sequence[Reader], units: Sequence[int]) -> float:
    """The harm when some units go together: what `eliminate` adds up to in any order, in one step."""
    if not units:
        return 0.0
    with _threads_for(readers):
        total = 0.0
        for reader in readers:
            columns = reader.columns[list(units)].flatten()
            block = reader.inverse[:, columns[:, None], columns[None, :]]
            weights = reader.weight[:, columns]
            total += float((weights * torch.linalg.solve(block, weights)).sum())
        return total


def _eliminate(
    state: list[_Remainder], units: int, order: Sequence[int] | None
) -> tuple[list[int], NDArray[np.float64]]:
    left = list(range(units))
    removed: list[int] = []
    harm = [0.0]
    while len(left) > 1:
        costs = torch.stack([part.costs(left) for part in state]).sum(0)
        place = left.index(order[len(removed)]) if order is not None else int(costs.argmin())
        harm.append(harm[-1] + float(costs[place]))
        unit = left.pop(place)
        removed.append(unit)
        for part in state:
            part.remove(unit)
    return removed + left, np.asarray(harm)


@contextmanager
def _threads_for(readers: Sequence[Reader]) -> Iterator[None]:
    """One thread for small matrices: handing them to several costs more than it gains."""
    threads = torch.get_num_threads()
    if all(reader.inverse.shape[1] <= _SMALL for reader in readers):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Remainder:
    """What is left of a reader while units go."""

    def __init__(self, reader: Reader) -> None:
        self._inverse = reader.inverse.clone()
        self._weight = reader.weight.clone()
        self._columns = reader.columns

    def costs(self, units: list[int]) -> Tensor:
        """Increase of the squared error for each unit, were it removed next."""
        columns = self._columns[units]
        blocks = self._inverse[:, columns[:, :, None], columns[:, None, :]]
        weights = self._weight[:, columns]
        each: Tensor = (weights * torch.linalg.solve(blocks, weights)).sum((0, 2, 3))
        return each

    def remove(self, unit: int) -> None:
        columns = self._columns[unit]
        block = self._inverse[:, columns[:, None], columns[None, :]]
        gain = torch.linalg.solve(block, self._inverse[:, columns]).mT
        self._weight -= gain @ self._weight[:, columns]
        self._inverse -= gain @ self._inverse[:, columns]
        # What was eliminated is exactly zero now; keep rounding from saying otherwise.
        self._weight[:, columns] = 0
        self._inverse[:, columns] = 0
        self._inverse[:, :, columns] = 0

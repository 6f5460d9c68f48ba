"""Closure: what else must go when a class of labels goes, where axes are split and merged.

A product says that an index of a flat axis stays exactly while every factor it is made of stays. So a
factor takes its row or column of the flat axis along, and a flat index that goes must be covered by a
factor that goes. Sets closed under both stay closed when united: units can be cut in any combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.flow import Product

Classes = frozenset[int]
Family = tuple[tuple[int, int], ...]
"""The factors (product, place) in which a seed appears: seeds of one family are alike."""


class Closures:
    """The products of one network, in terms of classes."""

    def __init__(self, products: Sequence[Product], class_of: NDArray[np.int64], locked: Iterable[int]):
        self._flat = [class_of[one.flat] for one in products]
        self._factors = [[class_of[factor] for factor in one.factors] for one in products]
        self._locked = set(locked)
        self._as_factor: dict[int, list[tuple[int, int, int]]] = {}
        self._as_flat: dict[int, list[tuple[int, int]]] = {}
        for number, factors in enumerate(self._factors):
            for place, factor in enumerate(factors):
                for index, one in enumerate(factor.tolist()):
                    self._as_factor.setdefault(one, []).append((number, place, index))
            for cell, one in enumerate(self._flat[number].ravel().tolist()):
                self._as_flat.setdefault(one, []).append((number, cell))

    @property
    def members(self) -> set[int]:
        """Every class that takes part in a product."""
        return {*self._as_factor, *self._as_flat}

    def units(self) -> dict[Classes, Family]:
        """The sets that go together, each once, grown from every factor that is not itself divided.

        Sets of one family that overlap are united, so that the units of a family are disjoint.
        """
        families: dict[Family, list[Classes]] = {}
        for seed, places in self._as_factor.items():
            if seed not in self._as_flat:
                family = tuple(sorted({(number, place) for number, place, _ in places}))
                families.setdefault(family, []).append(self.of(seed))
        units: dict[Classes, Family] = {}
        for family, found in families.items():
            for unit in _disjoint(found):
                units.setdefault(unit, family)
        return units

    def of(self, seed: int) -> Classes:
        """The smallest closed set found that contains a class."""
        gone: set[int] = set()
        self._remove([seed], gone)
        while uncovered := self._uncovered(gone):
            number, cells = uncovered
            self._remove(self._cover(number, cells, gone), gone)
        return frozenset(gone)

    def _remove(self, classes: Iterable[int], gone: set[int]) -> None:
        """Take classes out, with every flat index that is made of them."""
        pending = list(classes)
        while pending:
            one = pending.pop()
            if one in gone:
                continue
            gone.add(one)
            for number, place, index in self._as_factor.get(one, ()):
                row = np.take(self._flat[number], index, axis=place).ravel().tolist()
                pending.extend(other for other in row if other not in gone)

    def _uncovered(self, gone: set[int]) -> tuple[int, list[int]] | None:
        """The first product with flat indices that go although all their factors stay."""
        waiting: dict[int, list[int]] = {}
        for one in gone:
            for number, cell in self._as_flat.get(one, ()):
                indices = np.unravel_index(cell, self._flat[number].shape)
                factors = self._factors[number]
                if not any(int(factor[i]) in gone for factor, i in zip(factors, indices, strict=True)):
                    waiting.setdefault(number, []).append(cell)
        if not waiting:
            return None
        first = min(waiting)
        return first, waiting[first]

    def _cover(self, number: int, cells: list[int], gone: set[int]) -> list[int]:
        """The factors along one axis that cover some cells and take the fewest others along."""
        flat = self._flat[number]
        coordinates = np.unravel_index(np.asarray(cells), flat.shape)
        best: tuple[tuple[bool, int], list[int]] | None = None
        for place, factor in enumerate(self._factors[number]):
            chosen = np.unique(coordinates[place])
            classes = np.unique(factor[chosen]).tolist()
            taken = set(np.take(flat, chosen, axis=place).ravel().tolist()) - gone
            price = (any(one in self._locked for one in classes), len(taken))
            if best is None or price < best[0]:
                best = price, classes
        assert best is not None
        return best[1]


def _disjoint(sets: Sequence[Classes]) -> list[Classes]:
    """Unite sets that share a member."""
    owner: dict[int, int] = {}
    merged: dict[int, set[int]] = {}
    for number, one in enumerate(sets):
        touching = {owner[member] for member in one if member in owner}
        union = set(one).union(*(merged.pop(other) for other in touching))
        merged[number] = union
        for member in union:
            owner[member] = number
    return [frozenset(one) for one in merged.values()]

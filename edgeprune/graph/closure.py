"""Closure: what else must go when a class of labels goes, where axes are split and merged.

A product says that an index of a flat axis stays exactly while every factor it is made of stays. So a
factor takes its row or column of the flat axis along, and a flat index that goes must be covered by a
factor that goes. Sets closed under both stay closed when united: units can be cut in any combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.group import Reason
from edgeprune.graph.flow import Product

Classes = frozenset[int]
_Place = tuple[int, int, int]
"""A product, one of its factors, an index of it."""
_Divided = tuple[NDArray[np.int64], list[NDArray[np.int64]]]
"""A product's flat axis and its factors, as classes."""
Family = tuple[tuple[int, int], ...]
"""The factors (product, place) in which a seed appears: seeds of one family are alike."""


class Closures:
    """The products of one network, in terms of classes.

    `reasons` are those that locked classes came with, and those of classes that are locked by them.
    """

    def __init__(
        self, products: Sequence[Product], class_of: NDArray[np.int64], reasons: Mapping[int, Reason]
    ) -> None:
        self.reasons = dict(reasons)
        divided = [(class_of[one.flat], [class_of[factor] for factor in one.factors]) for one in products]
        alive = _spread_locks(divided, self.reasons, int(class_of.max(initial=-1)) + 1)
        self._locked = set(self.reasons)
        self._flat = [flat for flat, _ in alive]
        self._factors = [factors for _, factors in alive]
        self._as_factor: dict[int, list[_Place]] = {}
        self._as_flat: dict[int, list[tuple[int, int]]] = {}
        for number, (flat, factors) in enumerate(alive):
            for place, factor in enumerate(factors):
                for index, one in enumerate(factor.tolist()):
                    self._as_factor.setdefault(one, []).append((number, place, index))
            for cell, one in enumerate(flat.ravel().tolist()):
                self._as_flat.setdefault(one, []).append((number, cell))
        self._listed = [[factor.tolist() for factor in factors] for factors in self._factors]

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
        """The smallest closed set found that contains a class; a locked set is not searched to its end."""
        gone: set[int] = set()
        suspects: list[int] = []
        waiting: dict[int, list[int]] = {}
        more: list[int] = [seed]
        while more:
            self._remove(more, gone, suspects)
            if not gone.isdisjoint(self._locked):
                break
            for one in suspects:
                for number, cell in self._as_flat.get(one, ()):
                    waiting.setdefault(number, []).append(cell)
            suspects.clear()
            more = []
            for number in sorted(waiting):
                cells = self._uncovered(number, waiting.pop(number), gone)
                if cells:
                    waiting[number] = cells
                    more = self._cover(number, cells, gone)
                    break
        return frozenset(gone)

    def _uncovered(self, number: int, cells: Sequence[int], gone: set[int]) -> list[int]:
        """Those of some flat indices of which no factor goes."""
        places = np.asarray(cells)
        left = np.ones(len(places), dtype=bool)
        for factor, index in zip(self._listed[number], self._coordinates(number, places), strict=True):
            goes = np.fromiter((one in gone for one in factor), dtype=bool, count=len(factor))
            left &= ~goes[index]
        return [int(place) for place in places[left]]

    def _coordinates(self, number: int, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """For each factor of a product the indices that some flat indices are made of."""
        return np.unravel_index(cells, self._flat[number].shape)

    def _remove(self, classes: Iterable[int], gone: set[int], suspects: list[int]) -> None:
        """Take classes out, with every flat index that is made of them."""
        pending = list(classes)
        while pending:
            one = pending.pop()
            if one in gone:
                continue
            gone.add(one)
            suspects.append(one)
            for number, place, index in self._as_factor.get(one, ()):
                row = np.take(self._flat[number], index, axis=place).ravel().tolist()
                pending.extend(other for other in row if other not in gone)

    def _cover(self, number: int, cells: Sequence[int], gone: set[int]) -> list[int]:
        """The factors along one axis that cover some flat indices and take the fewest others along."""
        flat = self._flat[number]
        best: tuple[tuple[bool, int], list[int]] | None = None
        for place, index in enumerate(self._coordinates(number, np.asarray(cells))):
            chosen = np.unique(index)
            classes = sorted({self._listed[number][place][one] for one in chosen.tolist()})
            taken = set(np.take(flat, chosen, axis=place).ravel().tolist()) - gone
            price = (any(one in self._locked for one in classes), len(taken))
            if best is None or price < best[0]:
                best = price, classes
        assert best is not None
        return best[1]


def _spread_locks(products: list[_Divided], reasons: dict[int, Reason], count: int) -> list[_Divided]:
    """Lock what locked classes hold on to, and leave out products in which nothing can move."""
    locked = np.zeros(count, dtype=bool)
    locked[list(reasons)] = True
    alive, before = products, -1
    while len(alive) != before:
        before, remaining = len(alive), []
        for flat, factors in alive:
            if locked[flat].all():
                held, reason = np.concatenate(factors), reasons[int(flat.flat[0])]
            elif all(locked[factor].all() for factor in factors):
                held, reason = flat.ravel(), reasons[int(factors[0][0])]
            else:
                remaining.append((flat, factors))
                continue
            for one in held[~locked[held]].tolist():
                reasons.setdefault(one, reason)
            locked[held] = True
        alive = remaining
    return alive


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

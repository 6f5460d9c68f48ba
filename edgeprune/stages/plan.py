"""Plan: choose how many units each group keeps, least harm for the budget, on widths the target likes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgeprune.core.errors import BudgetError
from edgeprune.core.group import Group
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.request import Budget
from edgeprune.core.screening import GroupScreening, Screening
from edgeprune.core.search import Narrowed
from edgeprune.core.size import SizeBound
from edgeprune.core.units import format_bytes, format_count
from edgeprune.graph.cost import CostModel
from edgeprune.graph.couple import Coupling
from edgeprune.graph.planned import plan_of

_MOVES = 20_000
"""Of trial and error: seconds on a large network, whose plan it hardly betters."""
_TRIED = (0, 1, 2, 3, 5, 8, 13, 21, 34)
"""Which of the larger counts of a group are tried in exchange."""
_ROUNDING = 1e-9
"""Gains below this share are noise, and could be traded to and fro for ever."""


def plan(
    coupling: Coupling,
    screening: Screening,
    budget: Budget,
    *,
    multiple: int,
    seed: int = 0,
    size: SizeBound | None = None,
    tighter: Mapping[Narrowed, int] | None = None,
) -> Plan:
    """Cut greedily, always the step with the least harm per saved share of what the budget bounds.

    What went too far is then given back, and units are traded between groups while that does less harm.
    Groups that several layers write to (residual streams) are only cut when the others do not
    suffice: their refit error says too little about what the stream loses (docs/decisions/0002).

    Parameters
    ----------
    multiple : int
        Kept channel counts are multiples of this; a group narrower than it stays whole.
    size : SizeBound, optional
        What the budget's bound on a file leaves for its weights.
    tighter : mapping, optional
        Bounds to keep beside those of the budget.

    Raises
    ------
    BudgetError
        The budget lies beyond what the free groups can give; the hint says what is reachable.
    """
    if not coupling.free():
        raise _nothing_to_cut(coupling, budget)
    search = _Search(coupling, screening, multiple, size)
    limits = bounds(budget, search.cost["macs"], size)
    for name, limit in (tighter or {}).items():
        limits[name] = min(limit, limits.get(name, limit))
    while not all(search.cost[name] <= bound for name, bound in limits.items()):
        step = search.cheapest(limits)
        if step is None:
            raise _unreachable(search, budget, size)
        search.take(step)
    search.improve(limits)
    return plan_of(coupling, search.cuts(), screening.criterion, budget.words(), seed=seed)


def bounds(budget: Budget, macs: int, size: SizeBound | None = None) -> dict[Narrowed, int]:
    """Upper bounds on costs that together mean the budget, for a network of so many MACs."""
    found: dict[Narrowed, int] = {}
    limits = [budget.macs] if budget.macs is not None else []
    if budget.speedup is not None:
        limits.append(int(macs / budget.speedup))
    if limits:
        found["macs"] = min(limits)
    if budget.parameters is not None:
        found["parameters"] = budget.parameters
    if size is not None:
        found["bytes"] = size.room
    return found


def reach(
    coupling: Coupling, screening: Screening, *, multiple: int, size: SizeBound | None = None
) -> tuple[dict[Narrowed, int], dict[Narrowed, int]]:
    """What the network costs whole, and with every free group at its narrowest."""
    search = _Search(coupling, screening, multiple, size)
    whole = dict(search.cost)
    search.take_all()
    return whole, search.cost


@dataclass(frozen=True, slots=True)
class _Step:
    """Let one group go from its present number of removed units to `removed`."""

    group: str
    removed: int
    harm: float


class _Search:
    """The present widths, and what the next step of each group would bring."""

    def __init__(
        self, coupling: Coupling, screening: Screening, multiple: int, size: SizeBound | None = None
    ) -> None:
        self._model = CostModel(coupling)
        self._groups = {g.id: g for g in coupling.free() if g.id in screening.groups}
        self._screening = screening.groups
        self._classes = {name: coupling.unit_classes[name] for name in self._groups}
        # Groups may overlap, as heads and their width do: a class stays while nobody takes it.
        self._taken = np.zeros(int(coupling.class_of.max(initial=-1)) + 1, dtype=np.int64)
        self._near = {name: self._model.around(each.ravel()) for name, each in self._classes.items()}
        self._neighbours = self._find_neighbours()
        self._shared = {name for name, g in self._groups.items() if len(g.of_role("producer")) > 1}
        self._removed = dict.fromkeys(self._groups, 0)
        self._counts = {name: [0, *_removals(group, multiple)] for name, group in self._groups.items()}
        self._steps = {
            name: _hull(counts[1:], screening.groups[name]) for name, counts in self._counts.items()
        }
        self._precision = None if size is None else size.precision
        self.cost = self._cost(self._model)
        """What the network costs at the present widths."""
        self._savings: dict[str, tuple[int, dict[Narrowed, int]]] = {}
        self._moves = 0

    def cheapest(self, bounds: Mapping[Narrowed, int]) -> _Step | None:
        """The step with the least harm per saved share of the bounds not yet met."""
        unmet = [name for name, bound in bounds.items() if self.cost[name] > bound]
        steps = list(self._next_steps())
        own = self._best([step for step in steps if step.group not in self._shared], unmet)
        return own or self._best([step for step in steps if step.group in self._shared], unmet)

    def _best(self, steps: list[_Step], unmet: list[Narrowed]) -> _Step | None:
        best: tuple[float, _Step] | None = None
        for step in steps:
            savings = self._savings_of(step)
            saved = sum(savings[name] / self.cost[name] for name in unmet)
            if saved > 0:
                price = step.harm / saved
                if best is None or price < best[0]:
                    best = price, step
        return best[1] if best else None

    def _savings_of(self, step: _Step) -> dict[Narrowed, int]:
        """What a group's next step saves; remembered until a neighbour changes it."""
        removed, savings = self._savings.get(step.group, (None, {}))
        if removed != step.removed:
            near, present = self._near[step.group], self._removed[step.group]
            before = self._cost(near)
            self._set(step.group, present, step.removed)
            after = self._cost(near)
            self._set(step.group, step.removed, present)
            savings = {name: before[name] - after[name] for name in before}
            self._savings[step.group] = step.removed, savings
        return savings

    def take(self, step: _Step) -> None:
        """Go one step."""
        for name, saved in self._savings_of(step).items():
            self.cost[name] -= saved
        self._set(step.group, self._removed[step.group], step.removed)
        self._removed[step.group] = step.removed
        self._steps[step.group] = [n for n in self._steps[step.group] if n > step.removed]
        for other in self._neighbours[step.group]:
            self._savings.pop(other, None)

    def improve(self, bounds: Mapping[Narrowed, int]) -> None:
        """Local search from a plan that meets the bounds: it keeps meeting them, and does ever less harm.

        The last greedy step overshoots, and widths between the corners of the hulls were never looked at.
        So units are given back where they fit, alone or in exchange for units of another group.
        """
        self._give_back(bounds)
        gained, self._moves = True, 0
        while gained and self._moves < _MOVES:
            gained = False
            for name in [name for name in self._groups if self._may_go_on(name)]:
                for removed in self._further(name):
                    gained |= self._moves < _MOVES and self._trade(name, removed, bounds)

    def _may_go_on(self, name: str) -> bool:
        """A stream that was spared is not what others are exchanged for."""
        return name not in self._shared or self._removed[name] > 0

    def _further(self, name: str) -> list[int]:
        """Some larger counts: the next ones, and ever fewer of those far away."""
        larger = [each for each in self._counts[name] if each > self._removed[name]]
        return [larger[place] for place in _TRIED if place < len(larger)]

    def _trade(self, name: str, removed: int, bounds: Mapping[Narrowed, int]) -> bool:
        """Take a group to `removed`, and keep it there if what others give back for it is worth more."""
        before = dict(self._removed)
        harm = self._total_harm()
        self._go(name, removed)
        self._give_back(bounds, but=name)
        if self._total_harm() < harm * (1 - _ROUNDING):
            return True
        for other, present in before.items():
            if self._removed[other] != present:
                self._go(other, present)
        return False

    def _give_back(self, bounds: Mapping[Narrowed, int], *, but: str = "") -> None:
        """Let groups grow back while there is room, always the one whose growth lessens the harm most."""
        while True:
            gains = {}
            for name, removed in self._removed.items():
                if removed and name != but:
                    fits = self._least_that_fits(name, bounds)
                    gains[name, fits] = self._harm(name, removed) - self._harm(name, fits)
            best = max(gains, key=gains.__getitem__, default=None)
            if best is None or gains[best] <= 0:
                break
            self._go(*best)

    def _least_that_fits(self, name: str, bounds: Mapping[Narrowed, int]) -> int:
        """The smallest number of removed units with which the bounds still hold, by halving."""
        present = self._removed[name]
        counts = [each for each in self._counts[name] if each <= present]

        def fits(removed: int) -> bool:
            self._go(name, removed)
            return all(self.cost[kind] <= bound for kind, bound in bounds.items())

        found = counts[min(bisect_left(counts, True, key=fits), len(counts) - 1)]
        self._go(name, present)
        return found

    def _total_harm(self) -> float:
        return sum(self._harm(name, removed) for name, removed in self._removed.items())

    def _harm(self, name: str, removed: int) -> float:
        return self._screening[name].harm[removed]

    def _go(self, name: str, removed: int) -> None:
        """Take a group to any number of removed units, back ones included."""
        before = self._cost(self._near[name])
        self._set(name, self._removed[name], removed)
        for kind, value in self._cost(self._near[name]).items():
            self.cost[kind] += value - before[kind]
        self._removed[name] = removed
        self._moves += 1

    def take_all(self) -> None:
        """Cut everything that may be cut."""
        for name, steps in self._steps.items():
            if steps:
                harm = self._screening[name].harm
                self.take(_Step(name, steps[-1], harm[steps[-1]] - harm[self._removed[name]]))

    def _find_neighbours(self) -> dict[str, list[str]]:
        """For every group those whose savings depend on its width, itself included."""
        found: dict[str, list[str]] = {name: [] for name in self._groups}
        for name, near in self._near.items():
            touched = np.zeros(len(self._taken), dtype=bool)
            touched[near.classes()] = True
            for other, classes in self._classes.items():
                if touched[classes].any():
                    found[other].append(name)
        return found

    def cuts(self) -> tuple[Cut, ...]:
        """The groups that lost units, and what they keep."""
        return tuple(
            Cut(
                group=name,
                units=self._groups[name].units,
                kept=tuple(sorted(self._screening[name].order[removed:])),
            )
            for name, removed in self._removed.items()
            if removed
        )

    def _next_steps(self) -> Iterator[_Step]:
        for name, steps in self._steps.items():
            if steps:
                harm = self._screening[name].harm
                yield _Step(name, steps[0], harm[steps[0]] - harm[self._removed[name]])

    def _cost(self, model: CostModel) -> dict[Narrowed, int]:
        kept = self._taken == 0
        cost: dict[Narrowed, int] = {"macs": model.macs(kept), "parameters": model.parameters(kept)}
        if self._precision is not None:
            cost["bytes"] = model.weight_bytes(kept, self._precision)
        return cost

    def _set(self, name: str, before: int, after: int) -> None:
        """Take the units from `before` to `after` of a group's order, or give them back."""
        order = self._screening[name].order[min(before, after) : max(before, after)]
        units = self._classes[name][list(order)]
        np.add.at(self._taken, units, 1 if after > before else -1)


def _removals(group: Group, multiple: int) -> list[int]:
    """How many units may go so that every producer keeps a multiple of `multiple` channels."""
    if group.kind == "blocks":
        return list(range(1, group.units))
    width = max(piece.indices.shape[1] for piece in group.of_role("producer"))
    return [removed for removed in range(1, group.units) if (group.units - removed) * width % multiple == 0]


def _hull(removals: list[int], screening: GroupScreening) -> list[int]:
    """Corners of the lower convex hull of harm over removed units: the only steps worth taking."""
    points: list[tuple[int, float]] = [(0, 0.0)]
    for removed in removals:
        point = (removed, screening.harm[removed])
        while len(points) > 1 and _slope(points[-2], point) <= _slope(points[-2], points[-1]):
            points.pop()
        points.append(point)
    return [removed for removed, _ in points[1:]]


def _slope(first: tuple[int, float], second: tuple[int, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])


def _nothing_to_cut(coupling: Coupling, budget: Budget) -> BudgetError:
    """No group is free: say what holds the most of them."""
    reasons = Counter(str(group.locked) for group in coupling.groups if group.locked)
    held = "; ".join(f"{why}" for why, _ in reasons.most_common(3)) or "it has no convolution or linear layer"
    return BudgetError(
        f"nothing can be cut, so {budget.words()} cannot be reached: {held}",
        hint="`edgeprune inspect` lists every group and what would free it",
    )


def _unreachable(search: _Search, budget: Budget, size: SizeBound | None) -> BudgetError:
    before_macs = search.cost["macs"]
    search.take_all()
    macs, parameters = search.cost["macs"], search.cost["parameters"]
    file = f", {format_bytes(size.file_of(search.cost['bytes']))}" if size is not None else ""
    return BudgetError(
        f"the budget {budget.words()} cannot be reached",
        hint=f"with every free group at its narrowest: {format_count(macs)} MACs, "
        f"{format_count(parameters)} parameters{file}; `edgeprune inspect` lists what is locked and why"
        if before_macs
        else "the network has no convolution or linear layer",
    )

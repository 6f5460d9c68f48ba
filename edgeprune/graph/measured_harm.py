"""Measured harm: what the whole network's answers lose along each group's order of removal.

Refit errors of single layers compare the units of one group; what a group weighs against another is
told by the answers. So each group is taken away in part, its readers refitted, and the outputs compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.group import Group
from edgeprune.graph.absence import absence, absent_branch
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.graph.processes import Processes
from edgeprune.graph.sensitivity import Trial, divergences, rescaled

Floats = NDArray[np.float64]
_SHARES = (0.25, 0.5, 0.75, 0.9)
"""Shares of a group's units that are taken away to measure its harm."""
_WORK = 3e12
"""Multiply-accumulates to spend on it, about a minute of one core."""
_IMAGES = (16, 200)
"""At least and at most so many images."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredHarm:
    """Harm after the first k units went, k = 0 .. units - 1, and the points at which it was measured."""

    curve: Floats
    points: dict[int, float]


def affordable_images(coupling: Coupling, groups: Sequence[Group]) -> int:
    """How many images the measurement can be made with in reasonable time."""
    trials = sum(len(_points(group.units)) for group in groups) or 1
    # On average half of the network lies behind a cut.
    wanted = 2 * _WORK / (trials * max(1, count(coupling).macs))
    return int(np.clip(wanted, *_IMAGES))


def measured_harms(
    evidence: GroupEvidence,
    ranked: Mapping[str, tuple[Sequence[int], Floats]],
    inputs: Tensor,
    team: Processes,
    done: Callable[[], None],
) -> dict[str, MeasuredHarm]:
    """For each group its harm curve on the scale of the outputs: squared change over their variance.

    Parameters
    ----------
    ranked : mapping
        Order of removal and harm curve by group.
    inputs : Tensor
        Images of shape (n, *size).
    done : callable
        Told after each trial.
    """
    groups = {group.id: group for group in evidence.groups}
    places = [(name, k) for name in ranked for k in _points(groups[name].units)]
    trials = [absence(evidence, groups[name], ranked[name][0][:k]) for name, k in places]
    found = _shared(evidence, trials, inputs, team, done)
    points: dict[str, dict[int, float]] = {name: {} for name in ranked}
    for (name, k), harm in zip(places, found, strict=True):
        points[name][k] = harm
    return {name: MeasuredHarm(rescaled(ranked[name][1], points[name]), points[name]) for name in ranked}


def branch_harm(
    evidence: GroupEvidence, group: Group, inputs: Tensor, team: Processes, done: Callable[[], None]
) -> tuple[list[int], MeasuredHarm] | None:
    """Order and harm of residual branches: each by itself first, then several together.

    None where the last layer of one of them is not known.
    """
    alone = [absent_branch(evidence, [name]) for name in group.names]
    if None in alone:
        return None
    single = _shared(evidence, [one for one in alone if one], inputs, team, done)
    order = np.argsort(single, kind="stable").tolist()
    places = _points(group.units)
    together = [absent_branch(evidence, [group.names[unit] for unit in order[:k]]) for k in places]
    found = _shared(evidence, [one for one in together if one], inputs, team, done)
    points = dict(zip(places, found, strict=True))
    curve = np.concatenate([[0.0], np.cumsum(np.asarray(single)[order])[:-1]])
    return order, MeasuredHarm(rescaled(curve, points), points)


def _points(units: int) -> list[int]:
    return sorted({int(np.clip(round(units * share), 1, units - 1)) for share in _SHARES})


def _shared(
    evidence: GroupEvidence,
    trials: Sequence[Trial],
    inputs: Tensor,
    team: Processes,
    done: Callable[[], None],
) -> list[float]:
    """The divergences of all trials, shared out between the processes."""
    mine = divergences(evidence.coupling.program, trials[team.rank :: team.count], inputs, done)
    found = [0.0] * len(trials)
    for rank, part in enumerate(team.gathered(mine)):
        found[rank :: team.count] = part
    return found

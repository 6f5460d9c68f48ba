"""Settle: which weights stay after training: the last, their average, or those it started from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.alike import alike
from edgeprune.core.paired import confidence_of_drop, mcnemar_p_value
from edgeprune.core.report import Weights
from edgeprune.core.samples import Split
from edgeprune.graph.answer import answers
from edgeprune.graph.capture import Program
from edgeprune.graph.objective import Objective
from edgeprune.graph.processes import ALONE, Processes
from edgeprune.graph.weights import copied, write

_BATCH = 128
_CHANCE = 0.05
"""Of McNemar's test: training that lost more selection images than this lets chance explain has harmed."""
_BEYOND = 0.025
"""Of Tango's test, one-sided: a loss beyond what the original forgets on new images."""
_FRESH = 2_000
"""New images that are looked at, in the order they were drawn, class by class in turn: enough for a point."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Which weights stay, and why."""

    kept: Weights
    losses: dict[Weights, float | None]
    """On the selection images; None where an answer is not finite."""
    lost: int
    gained: int
    """Selection images that only the start, or only the better of the trained weights, answer right."""
    known: float | None
    """Points by which the original knows the selection images better; None where nothing hung on it."""


def settled(
    original: Program,
    trained: Program,
    selection: Split,
    start: Mapping[str, Tensor],
    averages: Mapping[str, Tensor],
    objective: Objective,
    *,
    fresh: Split | None = None,
    team: Processes = ALONE,
) -> Settled:
    """Write the best of three into a trained program: its last weights, their averages, the start.

    `fresh` are labelled images that nobody was trained on; only the original answers them. The first process
    looks, all of them write the same.
    """
    weights: dict[Weights, Mapping[str, Tensor]] = {
        "start": start,
        "last": copied(trained),
        "averaged": averages,
    }
    judging = objective.judging

    def look() -> Settled:
        wanted = _answers(original, selection)
        found: dict[Weights, _Standing] = {}
        for name, tensors in weights.items():
            write(trained, tensors)
            found[name] = _standing(_answers(trained, selection), wanted, selection.labels, judging)
        return _chosen(found, lambda: _known(original, wanted, selection, fresh))

    choice = team.told(look)
    write(trained, weights[choice.kept])
    return choice


@dataclass(frozen=True, slots=True, eq=False)
class _Standing:
    """The mean loss, infinite where an answer is not finite, and which images were answered right.

    Without labels right is what is like the original's answer (core/alike.py).
    """

    loss: float
    right: NDArray[np.bool_]


def _standing(
    found: Tensor, wanted: Tensor, labels: NDArray[np.int64] | None, objective: Objective
) -> _Standing:
    told = None if labels is None else torch.from_numpy(labels)
    loss = float(objective.loss(found, wanted, told))
    answered = found.numpy()
    right = alike(wanted.numpy(), answered) if labels is None else answered.argmax(1) == labels
    return _Standing(loss if np.isfinite(loss) else float("inf"), right)


def _chosen(found: Mapping[Weights, _Standing], known: Callable[[], float]) -> Settled:
    """The trained weights with the smaller loss, if they are not worse than the start beyond chance.

    A network that was refitted to the original's answers knows the images that the original was trained on,
    and a trained one forgets those it is not shown: so many points of accuracy, which `known` gives, are no
    harm (docs/decisions/0015-known-images.md).
    """
    kept: Weights = "last" if found["last"].loss < found["averaged"].loss else "averaged"
    before, after = found["start"], found[kept]
    lost, gained = int((before.right & ~after.right).sum()), int((after.right & ~before.right).sum())
    forgotten: float | None = None
    if not np.isfinite(after.loss):
        kept = "start"
    elif before.loss < after.loss and lost > gained and mcnemar_p_value(lost, gained) < _CHANCE:
        forgotten = known()
        if confidence_of_drop(lost, gained, len(before.right), at_most=forgotten) < _BEYOND:
            kept = "start"
    losses = {name: one.loss if np.isfinite(one.loss) else None for name, one in found.items()}
    return Settled(kept, losses, lost, gained, forgotten)


def _known(original: Program, wanted: Tensor, selection: Split, fresh: Split | None) -> float:
    """By how many points of accuracy the original does better on the selection images than on new ones.

    `wanted` are its answers to the former. None are new where both were drawn from one set.
    """
    if selection.labels is None or fresh is None or fresh.labels is None:
        return 0.0
    if fresh.samples is selection.samples:
        return 0.0
    new = fresh.take(_FRESH)
    assert new.labels is not None
    right = [one.argmax(1) for one in answers(original, new.inputs(_BATCH))]
    old = float((wanted.argmax(1).numpy() == selection.labels).mean())
    return max(0.0, 100 * (old - float((np.concatenate(right) == new.labels).mean())))


def _answers(program: Program, images: Split) -> Tensor:
    # Images are read again for each network: thousands of them need not fit in memory.
    return torch.from_numpy(np.concatenate([*answers(program, images.inputs(_BATCH))]))

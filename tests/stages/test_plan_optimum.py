"""Plans beside the best there are: on networks so small that every combination of widths can be tried."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from tiny import a_split, coupled

from edgeprune.core.plan import Cut
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.screening import Screening
from edgeprune.graph.cost import CostModel, count
from edgeprune.graph.couple import Coupling
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen

SPEEDUPS = (1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6)


def every_combination(coupling: Coupling, screening: Screening, multiple: int) -> np.ndarray:
    """MACs and harm of every choice of widths, shape (choices, 2)."""
    model = CostModel(coupling)
    widths = {group.id: group for group in coupling.free() if group.id in screening.groups}
    choices = [
        [k for k in range(group.units) if k == 0 or kept_fit(group.units - k, coupling, name, multiple)]
        for name, group in widths.items()
    ]
    found = []
    for removals in product(*choices):
        kept = coupling.kept(())
        for name, removed in zip(widths, removals, strict=True):
            gone = list(screening.groups[name].order[:removed])
            kept[coupling.unit_classes[name][gone]] = False
        harm = sum(
            screening.groups[name].harm[removed] for name, removed in zip(widths, removals, strict=True)
        )
        found.append((model.macs(kept), harm))
    return np.asarray(found)


def kept_fit(kept: int, coupling: Coupling, name: str, multiple: int) -> bool:
    """Whether so many units make producers of a multiple of channels."""
    group = next(group for group in coupling.groups if group.id == name)
    return kept * max(one.indices.shape[1] for one in group.of_role("producer")) % multiple == 0


def harm_of(cuts: Sequence[Cut], screening: Screening) -> float:
    return sum(screening.groups[cut.group].harm[len(cut.removed)] for cut in cuts)


@pytest.mark.parametrize(
    ("situation", "multiple"),
    [("residual_add", 4), ("depthwise", 1), ("concat_split", 4), ("squeeze_excite", 1)],
)
def test_a_plan_does_little_more_harm_than_the_best_of_all_combinations(
    situation: str, multiple: int
) -> None:
    coupling = coupled(situation)
    screening = screen(coupling, a_split(200), build("criteria", "refit"), name="refit")
    combinations, whole = every_combination(coupling, screening, multiple), count(coupling).macs
    excess = []
    for speedup in SPEEDUPS:
        within = combinations[combinations[:, 0] <= int(whole / speedup)]
        if not len(within):
            continue
        found = plan(coupling, screening, Budget(speedup=speedup), multiple=multiple)
        assert found.after.macs <= whole / speedup
        excess.append(harm_of(found.cuts, screening) / within[:, 1].min() - 1)
    assert len(excess) >= 4
    assert min(excess) > -1e-9
    assert np.mean(excess) < 0.03

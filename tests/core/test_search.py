"""The search narrows a bound between what held and what did not, and stops when they lie close."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.documents import COST, SEARCH
from edgeprune.core.drop import Drop
from edgeprune.core.search import Trial, next_bound

WHOLE, LEAST = 1_000_000, 10_000


def search(
    holds: Callable[[int], bool],
    *,
    reach: Callable[[int], int] = lambda asked: asked,
    first: int | None = None,
) -> list[Trial]:
    """All trials of a network whose plans reach `reach(asked)`, and hold by what they reach."""
    trials: list[Trial] = []
    while (asked := next_bound(trials, whole=WHOLE, least=LEAST, first=first)) is not None:
        reached = reach(asked)
        assert reached <= asked
        cost = COST.model_copy(update={"macs": reached})
        drop = Drop(both_right=1, lost=0, gained=0, both_wrong=0)
        trials.append(
            Trial(
                asked=asked,
                reached=reached,
                cost=cost,
                drop=drop,
                certainty=1.0,
                held=holds(reached),
                seconds=0.1,
            )
        )
        assert len(trials) < 30
    return trials


@pytest.mark.parametrize("edge", [990_000, 700_000, 300_000, 123_456, 40_000, 11_000])
def test_it_ends_close_above_the_smallest_that_holds(edge: int) -> None:
    trials = search(lambda reached: reached >= edge)
    held = [one.reached for one in trials if one.held]
    assert min(held, default=WHOLE) < 1.06 * edge
    assert len(trials) <= 13


def test_it_starts_with_half_and_halves_until_one_fails() -> None:
    assert [one.asked for one in search(lambda reached: reached >= 200_000)][:3] == [
        500_000,
        250_000,
        125_000,
    ]


def test_where_everything_holds_it_ends_at_the_narrowest() -> None:
    assert search(lambda reached: True)[-1].reached == LEAST


def test_where_nothing_holds_it_ends_close_below_the_whole() -> None:
    trials = search(lambda reached: False)
    assert not any(one.held for one in trials)
    assert trials[-1].asked > WHOLE / 1.06


def test_what_must_be_kept_is_tried_first_and_where_it_fails_nothing_else_is() -> None:
    kept = search(lambda reached: reached >= 200_000, first=400_000)
    assert kept[0].asked == 400_000
    assert min(one.reached for one in kept if one.held) < 212_000
    assert [one.asked for one in search(lambda reached: reached >= 600_000, first=400_000)] == [400_000]


@pytest.mark.parametrize("edge", [700_000, 300_000, 123_456])
def test_coarse_widths_neither_hang_it_nor_hide_what_holds(edge: int) -> None:
    step = 90_000
    trials = search(lambda reached: reached >= edge, reach=lambda asked: max(LEAST, asked // step * step))
    best = min((one.reached for one in trials if one.held), default=WHOLE)
    assert best - step < edge <= best


def test_the_best_trial_is_the_smallest_that_held() -> None:
    assert SEARCH.best is None
    first = SEARCH.trials[0]
    held = [first.model_copy(update={"held": True, "reached": reached}) for reached in (9000, 4000, 6000)]
    best = SEARCH.model_copy(update={"trials": (first, *held)}).best
    assert best is not None
    assert best.reached == 4000

"""A request repeats a run: its words, its defaults and what makes two of them equal."""

from __future__ import annotations

import pytest

from core.documents import COST, REQUEST
from edgeprune.core.errors import DocumentError
from edgeprune.core.request import Budget, Images, Request


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(), ""),
        (Budget(speedup=2), ">= 2x fewer MACs"),
        (Budget(size=500_000), "<= 500000 bytes"),
        (
            Budget(speedup=3, size=9, size_of="int8-static", max_drop=0.5),
            ">= 3x fewer MACs, <= 9 bytes in int8-static, <= 0.5 points lost at 95 %",
        ),
        (Budget(max_drop=1, confidence=0.99), "<= 1 point lost at 99 %"),
        (Budget(confidence=0.99), ""),
        (Budget(speedup=1.5, macs=1000, parameters=60), ">= 1.5x fewer MACs, <= 1000 MACs, <= 60 parameters"),
    ],
)
def test_a_budget_reads_as_a_phrase(budget: Budget, words: str) -> None:
    assert budget.words() == words


def test_a_budget_that_asks_for_nothing_smaller_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        Budget.parse({"speedup": 1, "macs": 0, "parameters": -1}, source="budget")
    assert caught.value.message == (
        "budget: 3 faults\n"
        "  speedup: input should be greater than 1\n"
        "  macs: input should be greater than 0\n"
        "  parameters: input should be greater than 0"
    )


@pytest.mark.parametrize(
    ("images", "pool", "counts"),
    [
        (Images(), 50_000, (2000, 500)),
        (Images(), 100, (60, 15)),
        (Images(), 2, (1, 1)),
        (Images(calibration=7), 100, (7, 15)),
        (Images(selection=3), 100_000, (2000, 3)),
    ],
)
def test_image_counts_follow_the_size_of_the_pool(images: Images, pool: int, counts: tuple[int, int]) -> None:
    assert images.counts(pool) == counts


def test_to_judge_a_drop_takes_more_images() -> None:
    assert Images().counts(50_000, judging=True) == (2000, 5000)
    assert Images().counts(1200, judging=True) == (720, 300)
    assert Images(selection=7).counts(1200, judging=True) == (720, 7)


@pytest.mark.parametrize(
    "bound",
    [
        {"speedup": float("nan")},
        {"speedup": float("inf")},
        {"size": -1},
        {"max_drop": float("nan")},
        {"max_drop": 0},
        {"max_drop": 100},
        {"confidence": 1},
        {"confidence": 95},
        {"confidence": float("nan")},
        {"size_of": "int4"},
    ],
)
def test_a_bound_that_bounds_nothing_is_refused(bound: dict[str, object]) -> None:
    with pytest.raises(DocumentError):
        Budget.parse(bound, source="budget")


def test_a_part_of_the_way_is_said_in_absolute_figures() -> None:
    whole = COST.model_copy(update={"macs": 1600, "parameters": 100})
    budget = Budget(speedup=4, parameters=25)
    assert budget.part(whole, 0.5) == Budget(macs=800, parameters=50)
    assert budget.part(whole, 1.0) == Budget(macs=400, parameters=25)
    assert Budget(speedup=2, macs=400).part(whole, 0.5) == Budget(macs=800)


def test_equal_requests_have_equal_fingerprints_and_any_difference_shows() -> None:
    again = Request.parse(REQUEST.model_dump(), source="")
    assert again.fingerprint() == REQUEST.fingerprint()
    changed = [
        REQUEST.model_copy(update=update)
        for update in ({"seed": 4}, {"budget": Budget(speedup=2.5)}, {"data": None}, {"model_sha256": "x"})
    ]
    assert len({one.fingerprint() for one in [REQUEST, *changed]}) == 5

"""A guard asks its bound of a drop, and a ledger counts the operators that went back."""

from __future__ import annotations

import pytest

from core.documents import QUANTIZATION
from edgeprune.core.drop import Drop
from edgeprune.core.quantization import Guard


def a_drop(lost: int, images: int = 200) -> Drop:
    return Drop(both_right=images - lost, lost=lost, gained=0, both_wrong=0)


@pytest.mark.parametrize(("lost", "holds"), [(0, True), (2, True), (3, False), (100, False)])
def test_at_a_confidence_of_one_half_the_drop_holds_as_counted(lost: int, holds: bool) -> None:
    assert Guard(at_most=1.0).holds(a_drop(lost)) == holds


def test_a_higher_confidence_needs_fewer_images_lost() -> None:
    strict = Guard(at_most=1.0, confidence=0.95)
    assert not strict.holds(a_drop(2))
    assert not strict.holds(a_drop(0))
    assert strict.holds(a_drop(0, images=1000))


def test_the_claim_is_that_of_the_guard_unless_another_confidence_is_asked() -> None:
    guard = Guard(at_most=5, confidence=0.9, against="original", answers="same")
    assert guard.claim(a_drop(1)).words() == "change within 5 % of the answers at 90 %"
    assert guard.claim(a_drop(1), 0.99).words() == "change within 5 % of the answers at 99 %"


def test_operators_of_every_share_count_as_given_back() -> None:
    assert QUANTIZATION.floats == 3

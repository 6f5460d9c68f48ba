"""A bound on the drop is kept, refuted or neither, by what the paired answers can tell."""

from __future__ import annotations

import pytest

from edgeprune.core.drop import Answers, Drop, DropClaim


def claim(lost: int, *, images: int = 1000, at_most: float = 1.0, answers: Answers = "right") -> DropClaim:
    drop = Drop(both_right=images - lost, lost=lost, gained=0, both_wrong=0)
    return DropClaim(at_most=at_most, confidence=0.95, answers=answers, drop=drop)


@pytest.mark.parametrize(("lost", "verdict"), [(0, "yes"), (4, "yes"), (10, "undecided"), (40, "no")])
def test_the_verdict_is_what_the_images_can_tell(lost: int, verdict: str) -> None:
    assert claim(lost).verdict == verdict


def test_few_images_decide_nothing() -> None:
    assert claim(0, images=100).verdict == "undecided"
    assert claim(2, images=100).verdict == "undecided"


def test_only_a_refuted_bound_is_unmet_and_says_by_how_much() -> None:
    assert claim(0).unmet() == claim(10).unmet() == []
    assert claim(40).unmet() == [
        "the drop within 1 point at 95 % is refuted by the test images: 4.00 points [2.95, 5.40]"
    ]
    assert claim(40, answers="same").words() == "change within 1 % of the answers at 95 %"


def test_a_claim_comes_back_from_its_document_with_nothing_but_the_counts_believed() -> None:
    written = claim(40).model_dump()
    assert written["verdict"] == "no"
    assert DropClaim.parse({**written, "verdict": "yes", "certainty": 1.0}, source="") == claim(40)

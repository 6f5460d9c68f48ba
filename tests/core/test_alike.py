"""Answers that are alike: classes by the first one, values by how far they lie apart."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.alike import alike, are_scores, difference
from edgeprune.core.drop import drop_of

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.standard_normal((400, 1), dtype=np.float32)


@pytest.mark.parametrize(("shape", "scores"), [
    ((5, 2), True), ((5, 1000), True), ((5, 1), False), ((5, 4, 8, 8), False), ((5, 7, 3), False),
])  # fmt: skip
def test_scores_of_classes_are_told_by_their_shape(shape: tuple[int, ...], *, scores: bool) -> None:
    assert are_scores(shape) == scores


def test_classes_are_alike_where_the_same_comes_first() -> None:
    scores = np.array([[3, 1], [1, 3], [2, 1]], np.float32)
    assert alike(scores, np.array([[9, 8], [5, 4], [0, 1]], np.float32)).tolist() == [True, False, False]


def test_unrelated_numbers_are_hardly_ever_alike() -> None:
    other = RANDOM.standard_normal((400, 1), dtype=np.float32)
    assert alike(NUMBERS, other).mean() < 0.15
    assert drop_of(NUMBERS, other, None).points > 85
    assert drop_of(NUMBERS, NUMBERS, None).points == 0


@pytest.mark.parametrize("factor", [1.0, 1000.0])
@pytest.mark.parametrize("shape", [(400, 1), (200, 3, 4, 4)])
def test_values_may_move_by_a_tenth_of_their_spread(shape: tuple[int, ...], factor: float) -> None:
    values = factor * (5 + RANDOM.standard_normal(shape, dtype=np.float32))
    assert alike(values, values + np.float32(0.09 * factor)).all()
    assert not alike(values, values + np.float32(0.11 * factor)).any()
    assert difference(values, values + np.float32(0.11 * factor)) == pytest.approx(0.11, rel=0.1)


def test_values_that_never_vary_are_measured_by_their_size() -> None:
    values = np.full((3, 1), 2, np.float32)
    assert alike(values, values + np.float32(0.1)).all()
    assert not alike(values, values + np.float32(0.3)).any()
    assert difference(np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32)) == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_like_nothing(wrong: float) -> None:
    other = NUMBERS.copy()
    other[7] = wrong
    assert np.flatnonzero(~alike(NUMBERS, other)).tolist() == [7]


def test_one_answer_that_is_not_finite_says_nothing_of_the_others() -> None:
    spoilt = NUMBERS.copy()
    spoilt[3] = np.inf
    assert np.flatnonzero(~alike(spoilt, spoilt)).tolist() == [3]
    assert difference(spoilt, spoilt) == np.inf


def test_a_difference_from_nothing_is_infinite() -> None:
    nothing = np.zeros((5, 1), np.float32)
    assert difference(nothing, nothing + np.float32(0.1)) == np.inf
    assert not alike(nothing, nothing + np.float32(0.1)).any()


def test_classes_in_order_are_alike_where_the_first_one_is() -> None:
    best, other = np.array([[7, 3, 9], [3, 7, 9]]), np.array([[7, 9, 3], [7, 3, 9]])
    assert alike(best, other).tolist() == [True, False]
    assert alike(best[:, 0], other[:, 0]).tolist() == [True, False]


def test_a_drop_counts_images_and_not_places() -> None:
    maps = RANDOM.standard_normal((30, 3, 8, 8), dtype=np.float32)
    assert drop_of(maps, maps, None).images == 30

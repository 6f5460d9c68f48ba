"""A ranking that would come out otherwise with other images or classes is called unstable."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from edgeprune.core.moments import ClassMoments
from edgeprune.core.stability import (
    RESAMPLES,
    f_of_redrawn_classes,
    f_of_redrawn_images,
    rank_correlations,
    share_in_lowest_half,
)

CLASSES, UNITS = 6, 12


def activations(images: int, effect: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rectified values: most of a class's variance lies where its mean does, as in a network."""
    random = np.random.default_rng(1)
    labels = np.arange(images) % CLASSES
    shift = random.standard_normal((CLASSES, UNITS)) * np.linspace(0, effect, UNITS)
    return np.maximum(shift[labels] + random.standard_normal((images, UNITS)), 0), labels


def moments_of(images: int, effect: float = 1.0) -> ClassMoments:
    return ClassMoments.of(*activations(images, effect), CLASSES)


def mean_correlation(moments: ClassMoments, redrawn: NDArray[np.float64]) -> float:
    found = rank_correlations(moments.f_statistic(), redrawn)
    assert found is not None
    return float(found.mean())


def test_redrawing_from_moments_is_as_redrawing_the_images_themselves() -> None:
    values, labels = activations(600, 0.5)
    moments = ClassMoments.of(values, labels, CLASSES)
    random = np.random.default_rng(2)
    drawn = [random.integers(0, len(labels), len(labels)) for _ in range(300)]
    real = np.stack([ClassMoments.of(values[each], labels[each], CLASSES).f_statistic() for each in drawn])
    found = f_of_redrawn_images(moments, seed=0)
    np.testing.assert_allclose(found.mean(0), real.mean(0), rtol=0.15)
    np.testing.assert_allclose(found.std(0), real.std(0), rtol=0.35)
    np.testing.assert_allclose(share_in_lowest_half(found), share_in_lowest_half(real), atol=0.12)
    assert mean_correlation(moments, found) == pytest.approx(mean_correlation(moments, real), abs=0.02)


def test_more_images_make_a_ranking_steadier() -> None:
    few, many = (moments_of(images) for images in (30, 3_000))
    small = mean_correlation(few, f_of_redrawn_images(few, seed=0))
    large = mean_correlation(many, f_of_redrawn_images(many, seed=0))
    assert small < 0.9 < 0.95 < large


def test_a_ranking_that_hangs_on_single_classes_is_unstable_over_classes_however_many_images() -> None:
    moments = moments_of(30_000)
    classes = f_of_redrawn_classes(moments, seed=0)
    assert classes is not None
    assert mean_correlation(moments, classes) < 0.95
    assert mean_correlation(moments, f_of_redrawn_images(moments, seed=0)) > 0.98


def test_a_class_drawn_twice_counts_as_two() -> None:
    moments = moments_of(600)
    redrawn = f_of_redrawn_classes(moments, seed=5)
    assert redrawn is not None
    drawn = np.random.default_rng(5).integers(0, CLASSES, CLASSES)
    twice = ClassMoments(moments.count[drawn], moments.mean[drawn], moments.m2[drawn])
    np.testing.assert_array_equal(redrawn[0], twice.anova()[0])


def test_two_classes_cannot_be_redrawn() -> None:
    values, labels = activations(60, 1.0)
    assert f_of_redrawn_classes(ClassMoments.of(values, labels % 2, CLASSES), seed=0) is None


def test_correlations_are_spearmans() -> None:
    moments = moments_of(60)
    redrawn = f_of_redrawn_images(moments, seed=0)
    expected = [spearmanr(moments.f_statistic(), each).statistic for each in redrawn]
    np.testing.assert_allclose(rank_correlations(moments.f_statistic(), redrawn), expected, rtol=1e-9)


def test_without_differences_there_is_no_ranking_to_speak_of() -> None:
    constant = ClassMoments(np.full(CLASSES, 5.0), np.ones((CLASSES, UNITS)), np.zeros((CLASSES, UNITS)))
    redrawn = f_of_redrawn_images(constant, seed=0)
    assert (redrawn == 0).all()
    assert rank_correlations(constant.f_statistic(), redrawn) is None


@pytest.mark.parametrize("images", [1, CLASSES, CLASSES + 1])
def test_hardly_any_images_give_an_answer(images: int) -> None:
    redrawn = f_of_redrawn_images(moments_of(images), seed=0)
    assert redrawn.shape == (RESAMPLES, UNITS)
    assert not np.isnan(redrawn).any()


def test_half_of_the_units_are_in_the_lower_half() -> None:
    share = share_in_lowest_half(f_of_redrawn_images(moments_of(600), seed=0))
    assert share.sum() == pytest.approx(UNITS // 2)
    assert share[0] > share[-1]


def test_the_same_seed_draws_the_same() -> None:
    moments = moments_of(60)
    first, again, other = (f_of_redrawn_images(moments, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()

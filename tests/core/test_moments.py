"""Moments that are merged from shards give the statistics of all values at once, whatever the order."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import f_oneway, ttest_ind
from statsmodels.stats.oneway import anova_generic, anova_oneway

from edgeprune.core.moments import ClassMoments

CLASSES, UNITS = 5, 7


def activations(images: int = 200, *, offset: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(images)
    labels = random.permutation(np.arange(images) % CLASSES)
    shift = random.standard_normal((CLASSES, UNITS)) * np.linspace(0, 2, UNITS)
    return offset + shift[labels] + random.standard_normal((images, UNITS)), labels


def streamed(values: NDArray[np.float64], labels: NDArray[np.int64], batch: int) -> ClassMoments:
    parts = [
        ClassMoments.of(values[start : start + batch], labels[start : start + batch], CLASSES)
        for start in range(0, len(values), batch)
    ]
    return reduce(ClassMoments.merge, parts, ClassMoments.empty(CLASSES, values.shape[1]))


def assert_as_scipy(moments: ClassMoments, values: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    expected = f_oneway(*(values[labels == label] for label in np.unique(labels)))
    f, p_value = moments.anova()
    np.testing.assert_allclose(f, expected.statistic, rtol=1e-9)
    np.testing.assert_allclose(p_value, expected.pvalue, rtol=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_f_and_p_equal_those_of_scipy(batch: int, offset: float) -> None:
    values, labels = activations(offset=offset)
    assert_as_scipy(streamed(values, labels, batch), values, labels)


def test_shards_add_up_in_any_order() -> None:
    values, labels = activations()
    shards = [streamed(values[part::3], labels[part::3], 16) for part in range(3)]
    first, second, third = shards
    one, other = first.merge(second).merge(third), third.merge(first.merge(second))
    for name in ("count", "mean", "m2"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
    np.testing.assert_allclose(one.anova()[0], other.anova()[0], rtol=1e-9)


def test_merging_with_nothing_changes_nothing() -> None:
    values, labels = activations()
    moments = ClassMoments.of(values, labels, CLASSES)
    empty = ClassMoments.empty(CLASSES, UNITS)
    for merged in (moments.merge(empty), empty.merge(moments)):
        for name in ("count", "mean", "m2"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(moments, name))


def test_a_class_with_one_image_counts() -> None:
    values, labels = activations(41)
    labels = np.where(np.arange(41) == 0, 4, labels % 4)
    assert_as_scipy(streamed(values, labels, 10), values, labels)


def test_classes_without_images_do_not_count() -> None:
    values, labels = activations(60)
    assert_as_scipy(streamed(values, labels % 3, 10), values, labels % 3)


def test_a_constant_unit_tells_nothing_and_a_label_in_disguise_tells_all() -> None:
    values, labels = activations()
    values[:, 0] = 0.1
    values[:, 1] = 0.1 * labels
    f, p_value = streamed(values, labels, 7).anova()
    assert (f[0], p_value[0]) == (0, 1)
    assert (f[1], p_value[1]) == (np.inf, 0)
    assert np.isfinite(f[2:]).all()


def test_one_class_or_one_image_per_class_compares_nothing() -> None:
    values, _ = activations(CLASSES)
    for labels in (np.zeros(CLASSES, np.int64), np.arange(CLASSES)):
        f, p_value = ClassMoments.of(values, labels, CLASSES).anova()
        assert (f == 0).all()
        assert (p_value == 1).all()


def test_units_that_are_never_seen_active_tell_nothing() -> None:
    values, labels = activations()
    values[:, 2] = 0
    moments = streamed(values, labels, 16)
    assert (moments.anova()[0][2], moments.anova()[1][2]) == (0, 1)
    assert (moments.welch()[0][2], moments.welch()[2][2]) == (0, 1)
    assert moments.omega_squared()[2] == 0
    assert (moments.contrasts()[:, 2] == 0).all()


# Welch


@pytest.mark.parametrize("batch", [7, 1000])
def test_welchs_f_freedom_and_p_are_those_of_statsmodels(batch: int) -> None:
    values, labels = activations(90)
    values *= 1 + labels[:, None]
    f, freedom, p_value = streamed(values, labels, batch).welch()
    for unit in range(UNITS):
        expected = anova_oneway(values[:, unit], labels, use_var="unequal", welch_correction=True)
        assert f[unit] == pytest.approx(expected.statistic, rel=1e-9)
        assert freedom[unit] == pytest.approx(expected.df[1], rel=1e-9)
        assert p_value[unit] == pytest.approx(expected.pvalue, rel=1e-6)


def test_welch_of_summaries_is_statsmodels_anova_generic() -> None:
    moments = streamed(*activations(60), 16)
    variances = moments.m2 / (moments.count - 1)[:, None]
    for unit in range(UNITS):
        expected = anova_generic(
            moments.mean[:, unit], variances[:, unit], moments.count, use_var="unequal", welch_correction=True
        )
        assert moments.welch()[0][unit] == pytest.approx(expected.statistic, rel=1e-9)


def test_two_classes_are_compared_as_by_welchs_t_test() -> None:
    values, labels = activations(50)
    labels = labels % 2
    f, _, p_value = ClassMoments.of(values, labels, 2).welch()
    expected = ttest_ind(values[labels == 0], values[labels == 1], equal_var=False)
    np.testing.assert_allclose(f, expected.statistic**2, rtol=1e-9)
    np.testing.assert_allclose(p_value, expected.pvalue, rtol=1e-6)


def test_welch_leaves_out_a_class_with_one_image() -> None:
    values, labels = activations(41)
    labels = np.where(np.arange(41) == 0, 4, labels % 4)
    several = labels < 4
    whole = ClassMoments.of(values, labels, CLASSES).welch()
    without = ClassMoments.of(values[several], labels[several], CLASSES).welch()
    np.testing.assert_array_equal(whole, without)


def test_welch_takes_a_class_without_variance_as_one_whose_mean_is_known() -> None:
    values, labels = activations()
    values[labels == 3] = 0.3
    nearly = values + np.where(labels == 3, np.random.default_rng(0).normal(0, 1e-6, len(labels)), 0)[:, None]
    exact, close = ClassMoments.of(values, labels, CLASSES), ClassMoments.of(nearly, labels, CLASSES)
    np.testing.assert_allclose(exact.welch(), close.welch(), rtol=1e-5)


def test_welch_of_classes_that_never_vary() -> None:
    values, labels = activations()
    values[:, 0] = 0.1
    values[:, 1] = 0.1 * labels
    values[:, 2] = np.where(labels < 2, 0.1 * labels, values[:, 2])
    f, _, p_value = streamed(values, labels, 7).welch()
    assert (f[0], p_value[0]) == (0, 1)
    assert (f[1], p_value[1]) == (np.inf, 0)
    assert (f[2], p_value[2]) == (np.inf, 0)
    assert np.isfinite(f[3:]).all()


def test_welch_of_one_class_or_of_one_image_each_compares_nothing() -> None:
    values, _ = activations(CLASSES)
    for labels in (np.zeros(CLASSES, np.int64), np.arange(CLASSES)):
        f, _, p_value = ClassMoments.of(values, labels, CLASSES).welch()
        assert (f == 0).all()
        assert (p_value == 1).all()


# Effect size and contrasts


def test_omega_squared_is_the_formula_of_the_textbooks_on_sums_of_squares() -> None:
    values, labels = activations(120)
    means = np.stack([values[labels == label].mean(0) for label in range(CLASSES)])[labels]
    within = ((values - means) ** 2).sum(0)
    total = ((values - values.mean(0)) ** 2).sum(0)
    error = within / (120 - CLASSES)
    expected = np.maximum(0, (total - within - (CLASSES - 1) * error) / (total + error))
    np.testing.assert_allclose(streamed(values, labels, 16).omega_squared(), expected, rtol=1e-9)


def test_classes_explain_nothing_of_noise_and_all_of_a_label_in_disguise() -> None:
    values, labels = activations()
    values[:, 0] = 0.1 * labels
    values[:, 1] = 0.1
    omega = streamed(values, labels, 16).omega_squared()
    assert (omega[0], omega[1]) == (1, 0)
    assert ((omega >= 0) & (omega <= 1)).all()
    assert ClassMoments.of(values, labels * 0, CLASSES).omega_squared().tolist() == [0] * UNITS


def test_a_contrast_is_cohens_d_of_a_class_against_all_others() -> None:
    values, labels = activations(150)
    found = streamed(values, labels, 16).contrasts()
    pooled = np.sqrt(
        sum(((values[labels == one] - values[labels == one].mean(0)) ** 2).sum(0) for one in range(CLASSES))
        / (150 - CLASSES)
    )
    for label in range(CLASSES):
        expected = (values[labels == label].mean(0) - values[labels != label].mean(0)) / pooled
        np.testing.assert_allclose(found[label], expected, rtol=1e-9)


def test_a_class_without_images_has_no_contrast_and_a_unit_that_fires_for_one_only_an_endless_one() -> None:
    values, labels = activations(60)
    labels = labels % 3
    values[:, 0] = labels == 1
    found = streamed(values, labels, 16).contrasts()
    assert (found[3:] == 0).all()
    assert found[:3, 0].tolist() == [-np.inf, np.inf, -np.inf]
    assert (ClassMoments.of(values, labels * 0, CLASSES).contrasts() == 0).all()


def test_every_statistic_of_merged_shards_is_that_of_all_values() -> None:
    values, labels = activations(offset=10.0)
    shards = [streamed(values[part::3], labels[part::3], 16) for part in range(3)]
    merged, whole = reduce(ClassMoments.merge, shards), ClassMoments.of(values, labels, CLASSES)
    np.testing.assert_allclose(merged.welch(), whole.welch(), rtol=1e-7)
    np.testing.assert_allclose(merged.omega_squared(), whole.omega_squared(), rtol=1e-7)
    np.testing.assert_allclose(merged.contrasts(), whole.contrasts(), rtol=1e-7)

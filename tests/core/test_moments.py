"""Moments that are merged from shards give scipy's analysis of variance, whatever the order."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import f_oneway

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

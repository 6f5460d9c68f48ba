"""Splits are disjoint, in proportion and reproducible; unusable data is refused with its reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeprune.core.errors import DataError
from edgeprune.core.recipe import Preprocess
from edgeprune.core.samples import Pools, Samples, Split, Splits, draw_calibration, draw_splits


def numbered(labels: list[int] | np.ndarray, name: str = "numbers") -> Samples:
    """Inputs of shape (n, 1, 2, 2) that hold their own index."""

    def read(indices: Sequence[int]):
        return np.broadcast_to(np.asarray(indices, np.float32).reshape(-1, 1, 1, 1), (len(indices), 1, 2, 2))

    labels = np.asarray(labels, np.int64)
    return Samples(size=len(labels), read=read, labels=labels, name=name)


def draw(
    pools: Pools,
    *,
    calibration: int = 30,
    selection: int = 20,
    test: int | None = None,
    classes: int | None = None,
    seed: int = 0,
) -> Splits:
    return draw_splits(
        pools,
        Preprocess(),
        calibration=calibration,
        selection=selection,
        test=test,
        classes=classes,
        seed=seed,
    )


LABELS = np.repeat([0, 1, 2], [60, 30, 10])


def test_the_three_splits_of_one_pool_share_no_image_and_leave_none_out() -> None:
    splits = draw(Pools(numbered(LABELS)))
    parts = [set(split.indices.tolist()) for split in (splits.calibration, splits.selection, splits.test)]
    assert [len(part) for part in parts] == [30, 20, 50]
    assert set.union(*parts) == set(range(100))


def test_a_test_pool_is_used_whole_and_the_training_pool_only_for_the_rest() -> None:
    train, test = numbered(LABELS, "train"), numbered(LABELS[::2], "test")
    splits = draw(Pools(train, test))
    assert splits.test.samples is test
    assert sorted(splits.test.indices) == list(range(50))
    assert splits.calibration.samples is splits.selection.samples is train


def test_every_split_holds_each_class_in_proportion() -> None:
    splits = draw(Pools(numbered(LABELS)))
    for split in (splits.calibration, splits.selection, splits.test):
        counts = np.bincount(split.labels, minlength=3)
        assert np.all(np.abs(counts - np.array([0.6, 0.3, 0.1]) * len(split)) <= 1)


def test_the_first_images_of_a_split_are_in_proportion_too() -> None:
    first = draw(Pools(numbered(LABELS))).test.take(10)
    assert np.all(np.abs(np.bincount(first.labels, minlength=3) - [6, 3, 1]) <= 1)


def test_the_same_seed_draws_the_same_images_and_another_seed_others() -> None:
    pools = Pools(numbered(LABELS))
    assert np.array_equal(draw(pools, seed=4).selection.indices, draw(pools, seed=4).selection.indices)
    assert not np.array_equal(draw(pools, seed=4).selection.indices, draw(pools, seed=5).selection.indices)


def test_the_number_of_classes_covers_the_test_pool() -> None:
    assert draw(Pools(numbered(LABELS), numbered([0, 1, 4]))).classes == 5


def test_fewer_test_images_can_be_asked_for() -> None:
    assert len(draw(Pools(numbered(LABELS), numbered(LABELS)), test=7).test) == 7


def test_batches_come_in_the_split_s_order_with_their_labels() -> None:
    split = draw(Pools(numbered(LABELS))).calibration
    batches = list(split.batches(16))
    assert [len(inputs) for inputs, _ in batches] == [16, 14]
    seen = np.concatenate([inputs[:, 0, 0, 0] for inputs, _ in batches])
    assert np.array_equal(seen, split.indices)
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), LABELS[split.indices])


def refusal(pools: Pools, **wanted) -> DataError:
    with pytest.raises(DataError) as caught:
        draw(pools, **wanted)
    return caught.value


def test_a_single_class_is_refused() -> None:
    error = refusal(Pools(numbered([3] * 100)))
    assert error.message == "numbers: all 100 images are of class 3"
    assert error.hint == "screening compares classes, so the data needs at least two"


def test_labels_beyond_the_network_s_outputs_are_refused() -> None:
    error = refusal(Pools(numbered(LABELS + 1)), classes=3)
    assert error.message == "numbers: labels run from 1 to 3, but the network has 3 outputs"
    assert error.hint == "labels are class indices from 0 on, in the order of the network's outputs"


def test_labels_of_the_test_pool_are_checked_too() -> None:
    error = refusal(Pools(numbered(LABELS), numbered([0, 9], "own test set")), classes=3)
    assert error.message == "own test set: labels run from 0 to 9, but the network has 3 outputs"


def test_too_few_images_of_a_single_pool_are_refused_with_the_sum() -> None:
    error = refusal(Pools(numbered(LABELS)), calibration=80, selection=30)
    assert error.message == (
        "numbers: 100 images, but 111 are asked for (80 calibration + 30 selection + 1 test)"
    )
    assert error.hint == "ask for fewer with --images, or bring more data"


def test_too_few_training_images_beside_a_test_pool_are_refused() -> None:
    error = refusal(Pools(numbered(LABELS), numbered(LABELS)), calibration=80, selection=30)
    assert error.message == "numbers: 100 images, but 110 are asked for (80 calibration + 30 selection)"


def bare(size: int = 100, name: str = "bare") -> Samples:
    return Samples(size=size, read=numbered(LABELS).read, labels=None, name=name)


def test_images_without_labels_are_split_at_random() -> None:
    splits = draw(Pools(bare()), classes=3)
    assert [len(one) for one in (splits.calibration, splits.selection, splits.test)] == [30, 20, 50]
    assert len(np.unique(np.concatenate([splits.training.indices, splits.selection.indices]))) == 50
    assert splits.test.labels is None
    assert splits.classes == 3
    assert draw(Pools(bare())).classes == 0


@pytest.mark.parametrize(
    ("pools", "which"),
    [
        (Pools(bare(), numbered(LABELS)), "bare"),
        (Pools(numbered(LABELS), bare(name="bare test set")), "bare test set"),
    ],
)
def test_labels_for_some_images_only_are_refused(pools: Pools, which: str) -> None:
    error = refusal(pools)
    assert error.message == f"{which}: no labels, but the dataset's other images have some"
    assert error.hint == "bring labels for all images, or for none: then everything goes on without"


def calibration(pools: Pools, **wanted) -> Split:
    return draw_calibration(pools, Preprocess(), **{"count": 30, "classes": 3, "seed": 4, **wanted})


def test_images_drawn_alone_are_those_that_a_run_calibrates_on() -> None:
    pools = Pools(numbered(LABELS))
    assert np.array_equal(calibration(pools).indices, draw(pools, seed=4).calibration.indices)
    assert calibration(Pools(bare())).labels is None


def test_images_drawn_alone_are_checked_too() -> None:
    with pytest.raises(DataError, match=r"^numbers: 100 images, but 101 are asked for$"):
        calibration(Pools(numbered(LABELS)), count=101)
    with pytest.raises(DataError, match=r"^numbers: labels run from 0 to 2, but the network has 2 outputs$"):
        calibration(Pools(numbered(LABELS)), classes=2)


def whole(inputs: np.ndarray, preprocess: Preprocess) -> Split:
    samples = Samples(size=len(inputs), read=lambda indices: inputs[indices], labels=None, name="arrays")
    return Split(samples, np.arange(len(inputs)), preprocess)


def test_nan_is_refused_where_it_is_read() -> None:
    inputs = np.zeros((4, 1, 2, 2), np.float32)
    inputs[2, 0, 1, 1] = np.nan
    batches = whole(inputs, Preprocess()).batches(2)
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert caught.value.message == "arrays: inputs contain NaN or infinite values"
    assert caught.value.hint == "clean the data; statistics and calibration need finite numbers"


def test_integer_images_are_divided_by_255_and_floats_are_not() -> None:
    integral = np.full((1, 1, 2, 2), 255, np.uint8)
    for inputs in (integral, integral / 255):
        ((prepared, _),) = whole(inputs, Preprocess()).batches(1)
        assert prepared.dtype == np.float32
        assert np.array_equal(prepared, np.ones((1, 1, 2, 2)))


def test_images_are_scaled_cropped_and_normalised_per_channel() -> None:
    inputs = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(1, 2, 4, 4)
    preprocess = Preprocess(scale=2, crop=2, mean=(1, 2), std=(1, 4))
    ((prepared, _),) = whole(inputs, preprocess).batches(1)
    first = np.array([[5, 6], [9, 10]]) / 2 - 1
    second = (np.array([[21, 22], [25, 26]]) / 2 - 2) / 4
    assert np.array_equal(prepared, np.stack([first, second])[None].astype(np.float32))


def test_a_mean_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(DataError, match=r"^arrays: 1 channels, but the recipe's mean has 3 values$"):
        next(whole(np.zeros((1, 1, 2, 2)), Preprocess(mean=(0, 0, 0))).batches(1))


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"^images of 2x2 are smaller than the crop of 3$"):
        next(whole(np.zeros((1, 1, 2, 2)), Preprocess(crop=3)).batches(1))

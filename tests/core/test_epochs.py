"""An epoch holds every image once, dealt out to the processes without changing what any of them is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny import a_split
from zoo import IMAGE

from edgeprune.core.epochs import Epochs
from edgeprune.core.errors import DataError, EdgepruneError, RequestError


def epochs(images: int = 50, batch: int = 16, **changed: int) -> Epochs:
    return dataclasses.replace(Epochs(a_split(images), batch, IMAGE, "flip", 3), **changed)


def inputs(one: Epochs, number: int = 0) -> np.ndarray:
    return np.concatenate([batch.inputs for batch in one.epoch(number)])


def test_batches_have_the_same_size_give_or_take_one() -> None:
    one = epochs()
    assert [len(batch.inputs) for batch in one.epoch(0)] == [12, 13, 12, 13]
    assert one.steps == 4


def test_every_image_comes_once_with_its_label() -> None:
    one = dataclasses.replace(epochs(), augment="none")
    split = one.split
    all_inputs, all_labels = next(split.batches(len(split)))
    known = {image.tobytes(): label for image, label in zip(all_inputs, all_labels, strict=True)}
    seen = {
        image.tobytes(): label
        for batch in one.epoch(2)
        for image, label in zip(batch.inputs, batch.labels, strict=True)
    }
    assert seen == known


def test_each_epoch_has_its_own_order_and_the_same_one_again() -> None:
    assert np.array_equal(inputs(epochs(), 1), inputs(epochs(), 1))
    assert not np.array_equal(inputs(epochs(), 1), inputs(epochs(), 2))
    assert not np.array_equal(inputs(epochs(), 1), inputs(epochs(seed=4), 1))


def test_the_parts_of_a_batch_make_the_batch() -> None:
    whole = [*epochs().epoch(1)]
    parts = [[*epochs(part=part, parts=3).epoch(1)] for part in range(3)]
    for number, batch in enumerate(whole):
        own = [part[number] for part in parts]
        assert np.array_equal(np.concatenate([one.inputs for one in own]), batch.inputs)
        assert np.array_equal(np.concatenate([one.labels for one in own]), batch.labels)
        assert sum(one.share for one in own) == pytest.approx(1)


def test_without_labels_there_are_none() -> None:
    split = a_split(20)
    bare = dataclasses.replace(split, samples=dataclasses.replace(split.samples, labels=None))
    assert all(batch.labels is None for batch in dataclasses.replace(epochs(), split=bare).epoch(0))


REFUSED = [
    ({"images": 1}, DataError, "patterns: 1 images to train on, but batch statistics need two in each of 1"),
    ({"images": 5, "parts": 3}, DataError, "patterns: 5 images to train on, but batch statistics need two"),
    ({"batch": 1}, RequestError, "1 processes for batches of 1 images: each needs two"),
    ({"parts": 9}, RequestError, "9 processes for batches of 16 images: each needs two"),
]


@pytest.mark.parametrize(("options", "kind", "message"), REFUSED)
def test_too_few_images_are_an_error(
    options: dict[str, int], kind: type[EdgepruneError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        epochs(**options)
    assert caught.value.message.startswith(message)

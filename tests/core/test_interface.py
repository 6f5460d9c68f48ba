"""Interfaces: how a file is fed, and how its answers are read back as one number per class."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.interface import Interface, interface_of

SCORES = np.array([[0.0, 3.0, 1.0], [2.0, -1.0, 0.5]], np.float32)


def test_an_interface_that_says_nothing_is_plain() -> None:
    plain = interface_of(None, "nchw", "scores", camera=False)
    assert plain == Interface()
    assert plain.plain
    assert plain.outputs == ("output",)


@pytest.mark.parametrize("given", [{"layout": "nhwc"}, {"camera": True}, {"answer": "softmax"}])
def test_whatever_changes_the_ends_is_not_plain(given: dict[str, object]) -> None:
    assert not Interface.parse(given, source="test").plain


def test_the_batch_alone_changes_no_ends() -> None:
    assert interface_of("1", "nchw", "scores", camera=False).plain


def test_images_are_turned_for_channels_last() -> None:
    images = np.arange(24).reshape(1, 2, 3, 4)
    turned = Interface(layout="nhwc").laid_out(images)
    assert turned.shape == (1, 3, 4, 2)
    assert turned[0, 1, 2, 1] == images[0, 1, 1, 2]


def test_scores_are_left_as_they_are() -> None:
    assert Interface().expected(SCORES) is SCORES


def test_softmax_sums_to_one_and_decides_alike() -> None:
    likely = Interface(answer="softmax").expected(SCORES)
    assert likely.sum(1) == pytest.approx([1, 1])
    assert likely.argmax(1).tolist() == [1, 0]


def test_a_best_class_is_read_as_the_scores_that_choose_it() -> None:
    interface = Interface(answer="argmax")
    assert (interface.read(np.array([1, 0], np.int32), 3) == interface.expected(SCORES)).all()


def test_the_best_classes_are_read_as_ranks() -> None:
    interface = Interface(answer="top5")
    scores = np.arange(7, dtype=np.float32)[None]
    assert interface.expected(scores).tolist() == [[0, 0, 1, 2, 3, 4, 5]]
    assert interface.read(np.array([[6, 5, 4, 3, 2]], np.int32), 7).tolist() == [[0, 0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("2", "nchw", "scores"), "unknown --batch '2'", "known: 1, free"),
        ((None, "nhcw", "scores"), "unknown --layout 'nhcw'", "did you mean 'nhwc'? known: nchw, nhwc"),
        ((None, "nchw", "softmx"), "unknown --answer 'softmx'", "did you mean 'softmax'? "),
    ],
)
def test_an_unknown_value_is_an_error_with_the_nearest(
    options: tuple[str | None, str, str], message: str, hint: str
) -> None:
    with pytest.raises(RequestError) as caught:
        interface_of(*options, camera=False)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)

"""Images move by what was drawn for them, whichever process prepares them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.augmentation import Moves
from edgeprune.core.recovery import Augment

SIZE = (2, 16, 24)


def some(images: int = 6) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((images, *SIZE)).astype(np.float32)


def drawn(kind: Augment, images: int = 6, size: tuple[int, ...] = SIZE) -> Moves:
    return Moves.drawn(kind, images, size, np.random.default_rng(1))


def by_hand(image: np.ndarray, shift: np.ndarray, mirrored: bool) -> np.ndarray:
    """Padded by reflection, cropped, then mirrored within the crop's frame."""
    image = image[:, :, ::-1] if mirrored else image
    down, right = shift[0], -shift[1] if mirrored else shift[1]
    padded = np.pad(image, ((0, 0), (3, 3), (3, 3)), mode="reflect")
    return padded[:, 3 + down : 19 + down, 3 + right : 27 + right]


def test_a_shifted_and_mirrored_image_is_a_crop_of_the_padded_one() -> None:
    inputs, moves = some(40), drawn("flip", 40)
    moved = moves.apply(inputs, slice(0, 40))
    assert {*moves.mirrored.tolist()} == {True, False}
    assert set(moves.shifts[:, 0]) == {-2, -1, 0, 1, 2}
    assert set(moves.shifts[:, 1]) == {-3, -2, -1, 0, 1, 2, 3}
    for index in range(40):
        expected = by_hand(inputs[index], moves.shifts[index], bool(moves.mirrored[index]))
        assert np.array_equal(moved[index], expected)


def test_a_shift_mirrors_nothing() -> None:
    moves = drawn("shift", 40)
    assert moves.shifts.any()
    assert not moves.mirrored.any()


@pytest.mark.parametrize(("kind", "size"), [("none", SIZE), ("flip", (7,)), ("flip", (6, 16))])
def test_what_is_no_image_or_not_asked_for_stays(kind: Augment, size: tuple[int, ...]) -> None:
    inputs = np.ones((6, *size), np.float32)
    assert drawn(kind, size=size).apply(inputs, slice(0, 6)) is inputs


def test_a_part_of_the_images_moves_as_it_does_among_all() -> None:
    inputs, moves = some(), drawn("flip")
    whole = moves.apply(inputs, slice(0, 6))
    assert np.array_equal(moves.apply(inputs[2:5], slice(2, 5)), whole[2:5])


def test_pixels_smaller_than_the_reach_never_leave_the_image() -> None:
    inputs = np.ones((50, 1, 1, 1), np.float32)
    assert np.array_equal(drawn("flip", 50, (1, 1, 1)).apply(inputs, slice(0, 50)), inputs)

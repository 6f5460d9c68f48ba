from __future__ import annotations

import numpy as np

from edgeprune.core.representative import doubts

IMAGES = np.random.default_rng(0).standard_normal((20, 3, 4, 4)).astype(np.float32)


def test_images_like_those_that_judge_raise_no_doubt() -> None:
    assert doubts(IMAGES, IMAGES[::-1]) == []


def test_images_of_one_value_are_named() -> None:
    some = IMAGES.copy()
    some[:5] = 0.5
    assert doubts(some, IMAGES) == [
        "5 of 20 calibration images are of one value: integer ranges learnt from them are too narrow"
    ]


def test_bytes_that_nobody_divided_are_named() -> None:
    raw = np.abs(IMAGES) / np.abs(IMAGES).max() * 255
    assert doubts(raw, raw) == [
        "calibration images reach 255: say in the recipe how they are normalised (scale, mean, std)"
    ]


def test_images_that_span_less_than_those_that_judge_are_named() -> None:
    (line,) = doubts(IMAGES / 10, IMAGES)
    assert line.endswith(
        "of the selection images' values lie beyond the calibration images' extremes: take more calibration "
        "images (--images), drawn as the device will see them"
    )

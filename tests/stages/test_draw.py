"""Images that do not fit the network are refused; the others are dealt out once each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.documents import REQUEST
from tiny import tiny_coupling

from edgeprune.core.errors import DataError
from edgeprune.core.recipe import Preprocess
from edgeprune.core.request import Budget, Images, Request
from edgeprune.stages.draw import draw, image_size


def saved(folder: Path, images: int = 100, *, size: tuple[int, ...] = (3, 16, 16), test: int = 0) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "x_train": random.standard_normal((images, *size)).astype(np.float32),
        "y_train": np.arange(images) % 10,
        "x_test": random.standard_normal((test, *size)).astype(np.float32),
        "y_test": np.arange(test) % 10,
    }
    np.savez(folder / "data.npz", **{name: one for name, one in arrays.items() if len(one)})


def asking(folder: Path, **changes: Any) -> Request:
    fields = {
        "data": "npz:data.npz",
        "data_base": str(folder),
        "labels": (),
        "preprocess": Preprocess(),
        "images": Images(),
        **changes,
    }
    return REQUEST.model_copy(update={"budget": Budget(speedup=2), **fields})


def test_without_data_there_are_no_splits(tmp_path: Path) -> None:
    assert draw(asking(tmp_path, data=None), tiny_coupling().program) is None


def test_one_pool_is_dealt_out_once_each(tmp_path: Path) -> None:
    saved(tmp_path)
    splits = draw(asking(tmp_path), tiny_coupling().program)
    assert splits is not None
    assert (len(splits.calibration), len(splits.selection), len(splits.test)) == (60, 15, 25)
    assert (splits.classes, len(splits.training)) == (10, 60)


def test_a_test_set_is_used_as_such_and_counts_are_those_asked_for(tmp_path: Path) -> None:
    saved(tmp_path, test=40)
    splits = draw(asking(tmp_path, images=Images(calibration=30, test=20)), tiny_coupling().program)
    assert splits is not None
    assert (len(splits.calibration), len(splits.selection), len(splits.test)) == (30, 15, 20)
    assert splits.test.samples is not splits.calibration.samples


def test_a_bound_on_the_drop_is_judged_by_more_images(tmp_path: Path) -> None:
    saved(tmp_path)
    splits = draw(asking(tmp_path, budget=Budget(max_drop=5)), tiny_coupling().program)
    assert splits is not None
    assert (len(splits.calibration), len(splits.selection), len(splits.test)) == (60, 25, 15)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, size=(3, 18, 18))
    with pytest.raises(DataError) as caught:
        draw(asking(tmp_path), tiny_coupling().program)
    assert caught.value.message == (
        f"{tmp_path}/data.npz (x_train): images of 3x18x18, but the network takes 3x16x16"
    )
    assert caught.value.hint == (
        "crop or resize in the recipe, or capture the network at the images' size with --input"
    )


def test_a_crop_can_make_them_fit(tmp_path: Path) -> None:
    saved(tmp_path, size=(3, 18, 18))
    splits = draw(asking(tmp_path, preprocess=Preprocess(crop=16)), tiny_coupling().program)
    assert splits is not None


def test_a_recipe_with_other_labels_than_outputs_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(DataError) as caught:
        draw(asking(tmp_path, labels=("cat", "dog")), tiny_coupling().program)
    assert caught.value.message == "the recipe names 2 labels, the network has 10 outputs"
    assert caught.value.hint == "list one label per output, in order"


@pytest.mark.parametrize(
    ("size", "crop", "seen"),
    [((3, 18, 20), None, (3, 18, 20)), ((3, 18, 20), 16, (3, 16, 16)), ((7,), None, (7,))],
)
def test_the_data_shows_the_input_size(
    tmp_path: Path, size: tuple[int, ...], crop: int | None, seen: tuple[int, ...]
) -> None:
    saved(tmp_path, size=size)
    assert image_size(asking(tmp_path, preprocess=Preprocess(crop=crop))) == seen
    assert image_size(asking(tmp_path, data=None)) is None

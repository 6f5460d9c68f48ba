"""The museum of bad data: each gives one error, one hint, exit code 2, and makes no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad.conftest import Compress, images, nothing_was_made, save

DATA = "check --data, or `data` and `preprocess` in edgeprune.toml"


@pytest.fixture(autouse=True)
def nothing_is_made(desk: Path) -> object:
    yield
    assert nothing_was_made(desk / "runs")


def refusal(compress: Compress, data: str, *options: str) -> tuple[str, str]:
    answer = compress("--data", data, *options)
    assert answer.code == 2
    return answer.refusal


def test_a_missing_file(compress: Compress, desk: Path) -> None:
    assert refusal(compress, "npz:nowhere.npz") == (f"{desk}/nowhere.npz: no such file", DATA)


def test_an_unknown_kind_of_dataset(compress: Compress) -> None:
    assert refusal(compress, "nzp:d.npz") == (
        "unknown dataset 'nzp' in 'nzp:d.npz'",
        "did you mean 'npz'? known: factory, folder, npz, sklearn, torchvision",
    )


def test_an_unknown_option_of_a_dataset(compress: Compress) -> None:
    assert refusal(compress, "npz:d.npz?fil=e.npz") == (
        "dataset 'npz': unknown option 'fil'",
        "did you mean 'file'?",
    )


def test_images_of_one_class(compress: Compress, desk: Path) -> None:
    inputs, labels = images()
    save("one.npz", inputs, labels * 0 + 2)
    assert refusal(compress, "npz:one.npz") == (
        f"{desk}/one.npz (x): all 30 images are of class 2",
        "screening compares classes, so the data needs at least two",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite(compress: Compress, desk: Path, value: float) -> None:
    inputs, labels = images()
    inputs[:, 0, 3, 3] = value
    save("nan.npz", inputs, labels)
    assert refusal(compress, "npz:nan.npz") == (
        f"{desk}/nan.npz (x): inputs contain NaN or infinite values",
        "clean the data; statistics and calibration need finite numbers",
    )


@pytest.mark.parametrize(("offset", "low", "high"), [(1, 1, 3), (-1, -1, 1)])
def test_labels_out_of_range(compress: Compress, desk: Path, offset: int, low: int, high: int) -> None:
    inputs, labels = images()
    save("range.npz", inputs, labels + offset)
    assert refusal(compress, "npz:range.npz") == (
        f"{desk}/range.npz (x): labels run from {low} to {high}, but the network has 3 outputs",
        "labels are class indices from 0 on, in the order of the network's outputs",
    )


def test_labels_for_fewer_images(compress: Compress, desk: Path) -> None:
    inputs, labels = images()
    save("short.npz", inputs, labels[:-1])
    assert refusal(compress, "npz:short.npz") == (
        f"{desk}/short.npz (x): 30 inputs, but 29 labels",
        "every input needs its label, in the same order",
    )


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("--images 100", "105 are asked for (100 calibration + 4 selection + 1 test)"),
        ("--test-images 50", "72 are asked for (18 calibration + 4 selection + 50 test)"),
    ],
)
def test_fewer_images_than_asked(compress: Compress, desk: Path, options: str, asked: str) -> None:
    assert refusal(compress, "npz:d.npz", *options.split()) == (
        f"{desk}/d.npz (x): 30 images, but {asked}",
        "ask for fewer with --images, or bring more data",
    )


def test_images_of_another_size(compress: Compress, desk: Path) -> None:
    assert refusal(compress, "npz:d.npz", "--input", "1x8x8") == (
        f"{desk}/d.npz (x): images of 1x6x6, but the network takes 1x8x8",
        "crop or resize in the recipe, or capture the network at the images' size with --input",
    )


def test_images_with_other_channels(compress: Compress) -> None:
    inputs, labels = images()
    save("colour.npz", inputs.repeat(3, axis=1), labels)
    message, hint = refusal(compress, "npz:colour.npz")
    assert message.startswith("the network refuses inputs of shape 3x6x6: ")
    assert hint == "give the size it was trained with, as --input CxHxW or in edgeprune.toml"


def test_other_labels_than_the_network_has_outputs(compress: Compress, desk: Path) -> None:
    (desk / "edgeprune.toml").write_text('kind = "recipe/1"\nlabels = ["cat", "dog"]\n')
    assert refusal(compress, "npz:d.npz") == (
        "the recipe names 2 labels, the network has 3 outputs",
        "list one label per output, in order",
    )

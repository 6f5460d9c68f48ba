"""The text of `--data` finds its plug-in, its options and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.dataset import array_samples, channels_first, class_indices, open_dataset
from edgeprune.core.errors import DataError, PluginError

FACTORY = """
import numpy as np

def blobs():
    return np.zeros((6, 3, 4, 4), np.float32), np.arange(6) % 2
"""


def refusal(text: str, base: Path = Path()) -> PluginError | DataError:
    with pytest.raises((PluginError, DataError)) as caught:
        open_dataset(text, base)
    return caught.value


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=np.zeros((6, 4, 4, 3), np.uint8), y=np.arange(6) % 2)
    return tmp_path


def test_a_relative_path_starts_at_the_base(archive: Path) -> None:
    assert open_dataset("npz:data.npz", archive).train.size == 6


def test_an_absolute_path_stays_as_it_is(archive: Path) -> None:
    assert open_dataset(f"npz:{archive / 'data.npz'}", Path("/nowhere")).train.size == 6


def test_a_python_file_is_a_factory_and_starts_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(FACTORY)
    assert open_dataset("data.py:blobs", tmp_path).train.size == 6
    assert open_dataset("factory:data.py:blobs", tmp_path).train.size == 6


def test_a_dotted_module_is_a_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_package_of_mine"
    package.mkdir()
    (package / "data.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    assert open_dataset("some_package_of_mine.data:blobs", Path()).train.size == 6


def test_options_reach_the_plug_in(tmp_path: Path) -> None:
    error = refusal("folder:photos?resize=256&crop=224", tmp_path)
    assert error.message == f"{tmp_path / 'photos'}: no such folder"


def test_an_unknown_dataset_is_refused_with_the_nearest_name() -> None:
    error = refusal("npx:data.npz")
    assert isinstance(error, PluginError)
    assert error.message == "unknown dataset 'npx' in 'npx:data.npz'"
    assert error.hint == "did you mean 'npz'? known: factory, folder, npz, sklearn, torchvision"


def test_a_mistyped_name_is_not_taken_for_a_module() -> None:
    assert refusal("sklern:digits").message == "unknown dataset 'sklern' in 'sklern:digits'"


def test_a_text_without_a_colon_is_refused() -> None:
    error = refusal("cifar10")
    assert error.message == "unknown dataset 'cifar10' in 'cifar10'"


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    error = refusal("folder:photos?rezise=256")
    assert error.message == "dataset 'folder': unknown option 'rezise'"
    assert error.hint == "did you mean 'resize'?"


def test_an_option_without_a_value_is_refused() -> None:
    error = refusal("folder:photos?resize")
    assert error.message == "dataset 'folder:photos?resize': option 'resize' has no value"
    assert error.hint == "write ?option=value&option=value"


def test_an_option_of_the_wrong_type_is_refused() -> None:
    assert refusal("folder:photos?resize=big").message.startswith("dataset 'folder': resize: ")
    assert refusal("folder:photos?crop=-1").message.startswith("dataset 'folder': crop: ")


def test_a_missing_location_is_refused() -> None:
    error = refusal("npz:")
    assert error.message == "dataset 'npz:' does not say which"
    assert error.hint == "write npz:<file>"


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((5, 32, 32, 3), (5, 3, 32, 32)),
        ((5, 28, 28, 1), (5, 1, 28, 28)),
        ((5, 3, 32, 32), (5, 3, 32, 32)),
        ((5, 1, 8, 8), (5, 1, 8, 8)),
        ((5, 3, 4, 4), (5, 3, 4, 4)),
        ((5, 28, 28), (5, 1, 28, 28)),
        ((5, 13), (5, 13)),
    ],
)
def test_channels_come_first_in_every_layout(shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    assert channels_first(np.zeros(shape)).shape == first


def test_only_the_inputs_asked_for_are_copied() -> None:
    inputs = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
    samples = array_samples(inputs, np.arange(10) % 2, name="arrays")
    read = samples.read([7, 2])
    assert np.array_equal(read, inputs[[7, 2]].transpose(0, 3, 1, 2))
    assert not np.shares_memory(read, inputs)
    inputs[7] = 0
    assert not samples.read([7]).any()


@pytest.mark.parametrize("labels", [[[0], [1]], [0.0, 1.0], [False, True]])
def test_labels_may_be_a_column_whole_floats_or_truth_values(labels: list[object]) -> None:
    assert class_indices(np.asarray(labels), name="arrays").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.eye(3), "shape (3, 3) and type float64"),
        (np.array([0.5, 1.0]), "shape (2,) and type float64"),
        (np.array([np.nan, 1.0]), "shape (2,) and type float64"),
        (np.array(["cat", "dog"]), "shape (2,) and type <U3"),
        (np.array([[1, 0, 1], [0, 1, 1]]), "shape (2, 3) and type int64"),
    ],
)
def test_labels_that_are_not_class_indices_are_refused(labels: np.ndarray, kind: str) -> None:
    with pytest.raises(DataError) as caught:
        class_indices(labels, name="arrays")
    assert caught.value.message == f"arrays: labels of {kind} are not class indices"
    assert caught.value.hint == (
        "bring one whole number per input, from 0 on, in the order of the network's outputs; or leave the "
        "labels out: refit, taylor, wanda and l2 rank without them"
    )


def test_inputs_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"^arrays: 4 inputs, but 3 labels$"):
        array_samples(np.zeros((4, 2)), np.arange(3), name="arrays")


@pytest.mark.parametrize("inputs", [np.zeros(4), np.array([["a"], ["b"]])])
def test_inputs_that_are_not_numbers_in_rows_are_refused(inputs: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"are not images or features$"):
        array_samples(inputs, np.arange(len(inputs)), name="arrays")

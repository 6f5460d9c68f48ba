"""Each dataset plug-in reads what it promises and refuses the rest with its reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune.core.dataset import open_dataset
from edgeprune.core.errors import DataError, EdgepruneError
from edgeprune.core.recipe import Recipe
from edgeprune.core.samples import Samples

ROOT = Path(__file__).parents[2]


def refusal(text: str, base: Path) -> EdgepruneError:
    with pytest.raises(DataError) as caught:
        read_all(open_dataset(text, base).train)
    return caught.value


def read_all(samples: Samples) -> np.ndarray:
    return samples.read(range(samples.size))


IMAGES = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
LABELS = np.arange(6) % 2


# npz


def test_npz_offers_train_and_test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    pools = open_dataset("npz:d.npz", tmp_path)
    assert (pools.train.size, pools.test.size) == (6, 2)
    assert np.array_equal(read_all(pools.train), IMAGES.transpose(0, 3, 1, 2))
    assert pools.train.read([0]).dtype == np.uint8
    assert pools.test.labels.tolist() == [0, 1]


def test_npz_offers_a_single_pool_of_x_and_y(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES[..., 0] / 255, y=LABELS[:, None])
    pools = open_dataset("npz:d.npz", tmp_path)
    assert pools.test is None
    assert pools.train.read([3, 1]).shape == (2, 1, 4, 4)


def test_npz_without_any_labels_offers_images_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES)
    np.savez(tmp_path / "parts.npz", x_train=IMAGES, x_test=IMAGES[:2])
    one, parts = open_dataset("npz:d.npz", tmp_path), open_dataset("npz:parts.npz", tmp_path)
    assert (one.train.labels, one.test) == (None, None)
    assert (parts.train.labels, parts.test.labels, parts.test.size) == (None, None, 2)
    assert np.array_equal(read_all(one.train), IMAGES.transpose(0, 3, 1, 2))


def test_npz_with_labels_under_another_name_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, labels=LABELS)
    assert refusal("npz:d.npz", tmp_path).message == (
        f"{tmp_path}/d.npz: no array x_train and no y_train; it holds labels, x"
    )


def test_npz_refuses_an_absent_file(tmp_path: Path) -> None:
    assert refusal("npz:d.npz", tmp_path).message == f"{tmp_path}/d.npz: no such file"


def test_npz_refuses_another_kind_of_file(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", IMAGES)
    error = refusal("npz:d.npy", tmp_path)
    assert error.message == f"{tmp_path}/d.npy: not an .npz archive"
    assert error.hint == "write one with numpy.savez_compressed(file, x_train=..., y_train=..., ...)"


def test_npz_lists_the_arrays_it_found_in_place_of_the_ones_it_needs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES, y_train=LABELS)
    error = refusal("npz:d.npz", tmp_path)
    assert error.message == f"{tmp_path}/d.npz: no array x_train; it holds images, y_train"
    assert error.hint == "the names are x_train, y_train, x_test, y_test, or x and y"


def test_npz_refuses_test_images_without_their_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES)
    error = refusal("npz:d.npz", tmp_path)
    assert error.message == f"{tmp_path}/d.npz: no array y_test; it holds x_test, x_train, y_train"


def test_npz_refuses_arrays_of_different_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS[:5])
    assert refusal("npz:d.npz", tmp_path).message == f"{tmp_path}/d.npz (x): 6 inputs, but 5 labels"


def test_npz_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{}, []], dtype=object), y=LABELS[:2])
    error = refusal("npz:d.npz", tmp_path)
    assert error.message.startswith(f"{tmp_path}/d.npz: array x cannot be read (Object arrays")
    assert error.hint == "save plain numbers, with numpy.savez_compressed"


# folder


def photo(path: Path, *, width: int = 6, height: int = 4, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (colour, 1, 2)).save(path)


def test_folder_takes_sorted_folder_names_as_classes(tmp_path: Path) -> None:
    for colour, name in enumerate(["dog/a.png", "cat/b.png", "cat/a.PNG"]):
        photo(tmp_path / name, colour=colour)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    pools = open_dataset(f"folder:{tmp_path}", Path())
    assert pools.test is None
    assert pools.train.labels.tolist() == [0, 0, 1]
    assert read_all(pools.train).shape == (3, 3, 4, 6)
    assert read_all(pools.train)[:, 0, 0, 0].tolist() == [2, 1, 0]


@pytest.mark.parametrize("test", ["test", "val"])
def test_folder_takes_train_and_test_folders_as_pools(tmp_path: Path, test: str) -> None:
    for name in ("train/cat/a.png", "train/dog/a.png", f"{test}/cat/a.png", f"{test}/dog/a.png"):
        photo(tmp_path / name)
    photo(tmp_path / test / "dog" / "b.png")
    pools = open_dataset(f"folder:{tmp_path}", Path())
    assert pools.train.labels.tolist() == [0, 1]
    assert pools.test.labels.tolist() == [0, 1, 1]


def test_folder_reads_grey_and_palette_images_as_rgb(tmp_path: Path) -> None:
    for index, mode in enumerate(["L", "P"]):
        (tmp_path / mode).mkdir()
        Image.new(mode, (4, 4), index).save(tmp_path / mode / "a.png")
    assert read_all(open_dataset(f"folder:{tmp_path}", Path()).train).shape == (2, 3, 4, 4)


def test_folder_resizes_the_shorter_side_and_crops_the_centre(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "wide.png", width=40, height=20)
    photo(tmp_path / "dog" / "tall.png", width=10, height=33)
    pools = open_dataset(f"folder:{tmp_path}?resize=8&crop=6", Path())
    assert read_all(pools.train).shape == (2, 3, 6, 6)


def test_folder_crops_what_lies_in_the_centre(tmp_path: Path) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6)
    (tmp_path / "cat").mkdir()
    Image.fromarray(pixels).save(tmp_path / "cat" / "a.png")
    pools = open_dataset(f"folder:{tmp_path}?crop=2", Path())
    assert read_all(pools.train)[0, 0].tolist() == [[14, 15], [20, 21]]


def test_folder_refuses_an_absent_folder(tmp_path: Path) -> None:
    assert refusal("folder:photos", tmp_path).message == f"{tmp_path}/photos: no such folder"


def test_folder_refuses_images_without_class_folders(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    error = refusal(f"folder:{tmp_path}", Path())
    assert error.message == f"{tmp_path}: no class folders"
    assert error.hint == "put the images of each class in a folder"


def test_folder_names_every_empty_class(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.png")
    for empty in ("dog", "emu"):
        (tmp_path / empty).mkdir()
    error = refusal(f"folder:{tmp_path}", Path())
    assert error.message == f"{tmp_path}: no images of class dog, emu"


def test_folder_refuses_a_test_class_it_was_not_trained_on(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/a.png", "test/cats/a.png"):
        photo(tmp_path / name)
    error = refusal(f"folder:{tmp_path}", Path())
    assert error.message == f"{tmp_path}/test: class 'cats' is not among the training classes"
    assert error.hint == "did you mean 'cat'? known: cat, dog"


def test_folder_names_the_unreadable_image(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "b.png").write_bytes(b"no picture")
    error = refusal(f"folder:{tmp_path}", Path())
    assert error.message.startswith(f"{tmp_path}/cat/b.png: not a readable image (")
    assert error.hint == "repair the file or take it out"


def test_folder_names_the_image_that_breaks_off(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.png", width=64, height=64)
    whole = (tmp_path / "cat" / "a.png").read_bytes()
    (tmp_path / "cat" / "a.png").write_bytes(whole[: len(whole) // 2])
    assert refusal(f"folder:{tmp_path}", Path()).message.startswith(
        f"{tmp_path}/cat/a.png: not a readable image ("
    )


def test_folder_asks_for_resize_and_crop_where_sizes_differ(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.png")
    photo(tmp_path / "dog" / "b.png", width=9)
    samples = open_dataset(f"folder:{tmp_path}", Path()).train
    with pytest.raises(DataError) as caught:
        samples.read([1])
    assert caught.value.message == (f"{tmp_path}/dog/b.png: 4x9 pixels, but {tmp_path}/cat/a.png has 4x6")
    assert caught.value.hint == (
        "add ?resize=<shorter side>&crop=<size> to --data, so that all images become equal"
    )


def test_folder_refuses_a_crop_larger_than_an_image(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "a.png")
    error = refusal(f"folder:{tmp_path}?crop=5", Path())
    assert error.message == f"{tmp_path}/cat/a.png: 4x6 pixels are too few for a crop of 5"
    assert error.hint == "add resize=5 or more"


# torchvision


def idx(path: Path, values: np.ndarray) -> None:
    """Write an array in the format of MNIST's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())


def test_torchvision_reads_mnist_lazily_as_grey_images(tmp_path: Path) -> None:
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    digits = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 251
    for part, count in (("train", 5), ("t10k", 3)):
        idx(raw / f"{part}-images-idx3-ubyte", digits[:count])
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count))
        for file in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
            (raw / f"{file}.gz").write_bytes(gzip.compress((raw / file).read_bytes()))
    pools = open_dataset("torchvision:MNIST?root=mnist", tmp_path)
    assert (pools.train.size, pools.test.size) == (5, 3)
    assert pools.test.labels.tolist() == [0, 1, 2]
    assert np.array_equal(pools.train.read([4, 1]), digits[[4, 1], None])


def test_torchvision_says_how_to_get_an_absent_dataset(tmp_path: Path) -> None:
    error = refusal("torchvision:CIFAR10?root=none", tmp_path)
    assert error.message.startswith(f"torchvision:CIFAR10: not usable in {tmp_path}/none (")
    assert error.hint == "name the folder with ?root=..., or add ?download=true"


def test_torchvision_offers_the_nearest_dataset(tmp_path: Path) -> None:
    error = refusal("torchvision:CIFR10", tmp_path)
    assert error.message == "torchvision has no dataset 'CIFR10' with a train and a test part"
    assert error.hint.startswith("did you mean 'CIFAR10'? known: CIFAR10, CIFAR100, FashionMNIST, ")


# sklearn


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 1, 8, 8), 10),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
        ("breast_cancer", (569, 30), 2),
    ],
)
def test_sklearn_hands_over_raw_floats(name: str, shape: tuple[int, ...], classes: int) -> None:
    pools = open_dataset(f"sklearn:{name}", Path())
    inputs = read_all(pools.train)
    assert pools.test is None
    assert inputs.shape == shape
    assert inputs.dtype == np.float32
    assert np.unique(pools.train.labels).tolist() == list(range(classes))


def test_sklearn_digits_keep_their_grey_values() -> None:
    assert read_all(open_dataset("sklearn:digits", Path()).train).max() == 16


def test_sklearn_offers_the_nearest_dataset() -> None:
    error = refusal("sklearn:digit", Path())
    assert error.message == "scikit-learn ships no dataset 'digit'"
    assert error.hint == "did you mean 'digits'? known: breast_cancer, digits, iris, wine"


# factory

FACTORIES = """
import numpy as np
import torch
from neighbour import LABELS
from torch.utils.data import Dataset, TensorDataset

from edgeprune.core.dataset import array_samples
from edgeprune.core.samples import Pools

IMAGES = np.arange(6 * 3 * 4 * 4, dtype=np.float32).reshape(6, 3, 4, 4)

class Pairs(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.from_numpy(IMAGES[index]), int(LABELS[index])

def arrays():
    return IMAGES, LABELS

def tensors():
    return torch.from_numpy(IMAGES), torch.from_numpy(LABELS)

def parts():
    return (IMAGES, LABELS), (IMAGES[:2], LABELS[:2])

def dataset():
    return Pairs()

def datasets():
    return Pairs(), TensorDataset(torch.from_numpy(IMAGES[:2]), torch.from_numpy(LABELS[:2]))

def pools():
    return Pools(array_samples(IMAGES, LABELS, name="mine"))

def bare():
    return IMAGES, None

def bare_parts():
    return (torch.from_numpy(IMAGES), None), (IMAGES[:2], None)

def regression():
    return IMAGES, LABELS + 0.5

def nothing():
    return None
"""


@pytest.fixture
def factories(tmp_path: Path) -> Path:
    (tmp_path / "data.py").write_text(FACTORIES)
    (tmp_path / "neighbour.py").write_text("import numpy as np\n\nLABELS = np.arange(6) % 2\n")
    return tmp_path


@pytest.mark.parametrize("function", ["arrays", "tensors", "parts", "dataset", "datasets", "pools"])
def test_factory_takes_every_promised_form(factories: Path, function: str) -> None:
    pools = open_dataset(f"data.py:{function}", factories)
    expected = np.arange(6 * 3 * 4 * 4).reshape(6, 3, 4, 4)
    assert np.array_equal(pools.train.read([5, 0]), expected[[5, 0]])
    assert pools.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (pools.test is not None) == (function in {"parts", "datasets"})
    if pools.test is not None:
        assert pools.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize(("function", "sizes"), [("bare", (6, None)), ("bare_parts", (6, 2))])
def test_factory_takes_none_for_labels(factories: Path, function: str, sizes: tuple[int, int | None]) -> None:
    pools = open_dataset(f"data.py:{function}", factories)
    parts = (pools.train, pools.test)
    assert tuple(part.size if part else None for part in parts) == sizes
    assert all(part is None or part.labels is None for part in parts)
    assert read_all(pools.train).shape == (6, 3, 4, 4)


def test_factory_s_labels_that_are_no_classes_are_refused(factories: Path) -> None:
    error = refusal("data.py:regression", factories)
    assert error.message.endswith(": labels of shape (6,) and type float64 are not class indices")
    assert error.hint.endswith("; or leave the labels out: refit, taylor, wanda and l2 rank without them")


def test_factory_refuses_another_result(factories: Path) -> None:
    error = refusal("data.py:nothing", factories)
    assert error.message == f"factory '{factories}/data.py:nothing' returned NoneType, which is no dataset"
    assert error.hint == ("return (x, y), ((x_train, y_train), (x_test, y_test)), a torch Dataset or a Pools")


def test_factory_offers_the_nearest_function(factories: Path) -> None:
    error = refusal("data.py:array", factories)
    assert error.message == f"factory '{factories}/data.py:array': no function 'array'"
    assert error.hint.startswith("did you mean 'arrays'? known: ")


def test_factory_refuses_an_absent_file(tmp_path: Path) -> None:
    assert refusal("data.py:arrays", tmp_path).message == f"{tmp_path}/data.py: no such file"


def test_factory_refuses_an_absent_module(tmp_path: Path) -> None:
    error = refusal("no_such_package.data:arrays", tmp_path)
    assert error.message == (
        "factory module 'no_such_package.data' does not import: No module named 'no_such_package'"
    )
    assert error.hint == "modules are looked up in the current folder and the installed packages"


def test_factory_names_the_line_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("x = 1\ndef arrays(:\n")
    assert refusal("data.py:arrays", tmp_path).message == f"{tmp_path}/data.py: line 2: invalid syntax"


def test_factory_leaves_the_user_s_own_errors_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("def arrays():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        open_dataset("data.py:arrays", tmp_path)


# the embedded example


def test_the_embedded_example_s_data_line_opens_from_its_own_folder() -> None:
    folder = ROOT / "models" / "digits"
    recipe = Recipe.load(folder / "edgeprune.toml")
    pools = open_dataset(recipe.data, folder)
    train = {image.tobytes() for image in read_all(pools.train)}
    assert (pools.train.size, pools.test.size) == (1200, 597)
    assert not any(image.tobytes() in train for image in read_all(pools.test))

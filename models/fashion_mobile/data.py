"""Fashion-MNIST's own split, read from its four files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]

SHARED = Path(__file__).parents[3] / "shared" / "data"


def fashion_mnist() -> tuple[Part, Part]:
    """60,000 images to train on and 10,000 to test with, of shape (n, 1, 28, 28), grey values 0..255.

    The files lie in the folder `fashion_mnist` of ../shared/data, or of $EDGEPRUNE_DATA.
    """
    folder = Path(os.environ.get("EDGEPRUNE_DATA", SHARED)) / "fashion_mnist"
    return _part(folder, "train"), _part(folder, "t10k")


def _part(folder: Path, name: str) -> Part:
    images = _array(folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    return images, _array(folder / f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int64)


def _array(file: Path, header: int) -> NDArray[np.uint8]:
    """The bytes behind the header of an idx file."""
    with gzip.open(file) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)

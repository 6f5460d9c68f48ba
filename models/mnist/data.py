"""MNIST from its four idx files: 60,000 images to train on, 10,000 to test with."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
PICTURE_HEADER, LABEL_HEADER = 16, 8  # bytes before the first pixel and the first label


def mnist() -> tuple[Part, Part]:
    """Training and test images (n, 1, 28, 28), 0..255, with labels.

    The files are looked for in `$EDGEPRUNE_DATA/mnist`; torchvision puts them in `<root>/MNIST/raw`.
    """
    folder = Path(os.environ.get("EDGEPRUNE_DATA", SHARED)) / "mnist"
    return _part(folder, "train"), _part(folder, "t10k")


def _part(folder: Path, name: str) -> Part:
    images = _read(folder / f"{name}-images-idx3-ubyte.gz", PICTURE_HEADER)
    labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", LABEL_HEADER)
    return images.reshape(-1, 1, 28, 28), labels.astype(np.int64)


def _read(path: Path, header: int) -> NDArray[np.uint8]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; set EDGEPRUNE_DATA, or give --data 'torchvision:MNIST?root=...'"
        )
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)

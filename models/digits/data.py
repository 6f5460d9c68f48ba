"""The fixed split of scikit-learn's handwritten digits that training and evaluation share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Part = tuple[NDArray[np.float32], NDArray[np.int64]]

TRAIN_IMAGES = 1200
SPLIT_SEED = 20261122


def digits() -> tuple[Part, Part]:
    """1,200 images to train on and 597 that training never sees, each class in proportion.

    Images are (n, 1, 8, 8) with values 0..16 as the set has them; the recipe divides by 16.
    """
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    labels = labels.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), train_size=TRAIN_IMAGES, random_state=SPLIT_SEED, stratify=labels
    )
    return (images[train], labels[train]), (images[test], labels[test])

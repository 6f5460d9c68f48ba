"""The small datasets that come with scikit-learn, so that a first run needs no download.

    --data sklearn:digits

`digits` are 1,797 grey images of 8x8 with values 0..16 (set `scale = 16` in the recipe); `wine`, `iris`
and `breast_cancer` are tables of features. None has a test set of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn import datasets

from edgeprune.core.dataset import array_samples
from edgeprune.core.errors import DataError, did_you_mean
from edgeprune.core.samples import Pools

_LOADERS = {
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


@dataclass(frozen=True)
class Sklearn:
    """`--data sklearn:<name>`: digits, wine, iris or breast_cancer."""

    name: str

    def open(self) -> Pools:
        """Load the whole set; the largest has 1,797 rows."""
        if self.name not in _LOADERS:
            raise DataError(
                f"scikit-learn ships no dataset '{self.name}'", hint=did_you_mean(self.name, _LOADERS)
            )
        bunch = _LOADERS[self.name]()
        inputs = np.asarray(bunch.get("images", bunch["data"]), dtype=np.float32)
        return Pools(array_samples(inputs, np.asarray(bunch["target"]), name=f"sklearn:{self.name}"))

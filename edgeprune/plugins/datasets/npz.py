"""Arrays in one NumPy archive, the form in which small datasets are passed around.

    --data npz:cifar10.npz

The archive holds `x_train` and `y_train`, as a rule with `x_test` and `y_test`, or just `x` and `y`.
Inputs are integers or floats, (n, height, width, channels), (n, channels, height, width),
(n, height, width) or (n, features); labels are class indices. Without any array of labels, the images
serve for everything but accuracy and class statistics.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from edgeprune.core.dataset import array_samples
from edgeprune.core.errors import DataError
from edgeprune.core.samples import Pools, Samples

_BARE = {"x", "x_train", "x_test"}
"""What an archive without labels holds; any other array may be labels under another name."""


@dataclass(frozen=True)
class Npz:
    """`--data npz:<file>`: arrays named x_train, y_train, x_test, y_test, or x, y."""

    file: Path

    def open(self) -> Pools:
        """Load the arrays; nothing is converted before it is read."""
        self._check_file()
        with np.load(self.file, allow_pickle=False) as archive:
            present = set(archive.files)
            labelled = not present <= _BARE
            if "x" in present and "x_train" not in present and ("y" in present or not labelled):
                return Pools(train=self._samples(archive, "x", labelled))
            self._check_keys(present, labelled)
            train = self._samples(archive, "x_train", labelled)
            if "x_test" not in present:
                return Pools(train)
            return Pools(train, test=self._samples(archive, "x_test", labelled))

    def _check_file(self) -> None:
        if not self.file.exists():
            raise DataError(f"{self.file}: no such file")
        if not zipfile.is_zipfile(self.file):
            raise DataError(
                f"{self.file}: not an .npz archive",
                hint="write one with numpy.savez_compressed(file, x_train=..., y_train=..., ...)",
            )

    def _check_keys(self, present: set[str], labelled: bool) -> None:
        parts = ["train", "test"] if present & {"x_test", "y_test"} else ["train"]
        wanted = {f"{axis}_{part}" for part in parts for axis in ("xy" if labelled else "x")}
        missing = sorted(wanted - present)
        if missing:
            raise DataError(
                f"{self.file}: no array {' and no '.join(missing)}; "
                f"it holds {', '.join(sorted(present)) or 'nothing'}",
                hint="the names are x_train, y_train, x_test, y_test, or x and y",
            )

    def _samples(self, archive: NpzFile, inputs: str, labelled: bool) -> Samples:
        labels = self._array(archive, inputs.replace("x", "y")) if labelled else None
        return array_samples(self._array(archive, inputs), labels, name=f"{self.file} ({inputs})")

    def _array(self, archive: NpzFile, key: str) -> NDArray[np.generic]:
        try:
            return np.asarray(archive[key])
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            # A ValueError is numpy's refusal to unpickle an array of Python objects.
            raise DataError(
                f"{self.file}: array {key} cannot be read ({error})",
                hint="save plain numbers, with numpy.savez_compressed",
            ) from error

"""Subjects: the trained networks that accuracy is measured on, with their images.

Images come from ../shared/data (or $EDGEPRUNE_DATA); where an archive is too large to be carried to a
machine in one piece, from a folder of plain arrays: x_train*.npy, y_train*.npy, x_test*.npy and y_test*.npy,
those of one name joined in order.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune.core.dataset import array_samples
from edgeprune.core.recipe import Preprocess
from edgeprune.core.samples import Pools, Split, Splits, draw_splits
from edgeprune.graph.capture import Program, capture

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
SELECTION = 500
# What the published CIFAR-10 weights were trained with, as models/resnet_cifar/recipe.toml has it.
_CIFAR = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A trained network and the images it is judged on."""

    name: str
    size: tuple[int, ...]
    build: Callable[[], nn.Module]
    """The trained module, new at every call."""
    pools: Callable[[], Pools]
    preprocess: Preprocess

    def program(self) -> Program:
        """The network, captured."""
        return capture(self.build(), self.size)

    def splits(
        self, seed: int, *, calibration: int = 2_000, training: int | None = None, test: int | None = None
    ) -> Splits:
        """Disjoint images for every purpose; fewer to train on or to test with where that is asked for."""
        drawn = draw_splits(
            self.pools(),
            self.preprocess,
            calibration=calibration,
            selection=SELECTION,
            test=test,
            classes=None,
            seed=seed,
        )
        return drawn if training is None else _with_fewer(drawn, training)


def resnet(name: str, *, weights: Path | None = None, data: Path | None = None) -> Subject:
    """A published CIFAR-10 ResNet (`resnet20`, `resnet56`); without paths from the shared data."""
    trained = weights or DATA / "resnet_cifar10" / WEIGHTS[name]

    def build() -> nn.Module:
        module: nn.Module = getattr(_model_file("resnet_cifar"), name)()
        held = torch.load(trained, weights_only=True, map_location="cpu")["state_dict"]
        module.load_state_dict({key.removeprefix("module."): value for key, value in held.items()})
        return module.eval()

    return Subject(name, (3, 32, 32), build, lambda: pools_of(data or DATA / "cifar10.npz"), _CIFAR)


@cache
def pools_of(path: Path) -> Pools:
    """The images of an .npz archive, or of a folder of arrays."""
    if path.is_dir():
        arrays = {key: _joined(path, key) for key in ("x_train", "y_train", "x_test", "y_test")}
    else:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in ("x_train", "y_train", "x_test", "y_test")}
    train, test = (
        array_samples(arrays[f"x_{part}"], arrays[f"y_{part}"], name=f"{path.name} ({part})")
        for part in ("train", "test")
    )
    return Pools(train, test)


def write_parts(archive: Path, folder: Path, *, mebibytes: int) -> None:
    """Take an .npz archive apart into arrays of at most so many mebibytes each, for `pools_of`."""
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(archive, allow_pickle=False) as held:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            array = held[key]
            count = -(-array.nbytes // (mebibytes << 20))
            for number, part in enumerate(np.array_split(array, count)):
                np.save(folder / f"{key}-{number}.npy", part)


def _joined(folder: Path, key: str) -> Any:
    parts = sorted(folder.glob(f"{key}*.npy"))
    if not parts:
        raise SystemExit(f"error: {folder} holds no {key}*.npy")
    return np.concatenate([np.load(one, allow_pickle=False) for one in parts])


def _with_fewer(splits: Splits, images: int) -> Splits:
    few: Split = splits.training.take(images)
    return Splits(splits.calibration, splits.selection, splits.test, few, splits.classes)


def _model_file(folder: str) -> Any:
    """The module models/<folder>/model.py."""
    spec = importlib.util.spec_from_file_location(f"models_{folder}", ROOT / "models" / folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""A desk with a small network, its weights, its data, and the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Answer, Here
from torch import nn

NETWORK = """\
from torch import nn


def net():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )
"""
Compress = Callable[..., Answer]


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Small networks run faster so, by far when the other core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: model.py, m.pt, and d.npz with 30 images of three classes."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {
        "0": nn.Conv2d(1, 16, 3),
        "2": nn.Conv2d(16, 16, 3),
        "6": nn.Linear(16, 3),
    }
    weights = {
        f"{name}.{key}": tensor
        for name, layer in layers.items()
        for key, tensor in layer.state_dict().items()
    }
    (tmp_path / "model.py").write_text(NETWORK)
    torch.save(weights, tmp_path / "m.pt")
    monkeypatch.chdir(tmp_path)
    save("d.npz", *images())
    return tmp_path


@pytest.fixture
def compress(desk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Compress:
    """`edgeprune compress m.pt --arch model.py:net --target x86-64 --quiet`, and what is given here."""
    command = Here(capfd, monkeypatch)

    def call(*options: str, target: str = "x86-64") -> Answer:
        return command("compress", "m.pt", "--arch", "model.py:net", "--target", target, "--quiet", *options)

    return call


def images(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Noise of 1x6x6 and classes 0, 1, 2 in turn."""
    return np.random.default_rng(0).normal(size=(count, 1, 6, 6)).astype(np.float32), np.arange(count) % 3


def save(name: str, inputs: np.ndarray, labels: np.ndarray) -> None:
    np.savez(name, x=inputs, y=labels)


def nothing_was_made(folder: Path) -> bool:
    """No file of a run but what only a resumed run needs and what was decided."""
    allowed = {"screening.json", "plan.json"}
    seen = [path for path in folder.rglob("*") if ".edgeprune" not in path.parts]
    return not [path for path in seen if path.is_file() and path.name not in allowed]

"""How networks for pictures of clothes are trained: seeded and single-threaded, so that runs repeat.

Nothing is chosen by the test images; they are counted once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from data import fashion_mnist
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
BATCH = 120  # divides the 60,000 training images


@dataclass(frozen=True)
class Course:
    """How long, how fast, and how strongly weights are drawn to zero."""

    epochs: int
    peak_rate: float
    weight_decay: float


def train(build: Callable[[], nn.Module], course: Course, path: Path) -> None:
    """Train a network, report its accuracy on the test images, and write the state dict."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (images, labels), (test_images, test_labels) = fashion_mnist()
    model = build()
    started = time.process_time()
    _learn(model, torch.from_numpy(images.copy()), torch.from_numpy(labels), course)
    print(f"{time.process_time() - started:.0f} seconds of one core")
    right = _right(model, torch.from_numpy(test_images.copy()), torch.from_numpy(test_labels))
    print(f"{right} of {len(test_labels)} test images: {100 * right / len(test_labels):.2f} %")
    torch.save(model.state_dict(), path)


def _learn(model: nn.Module, images: Tensor, labels: Tensor, course: Course) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=course.peak_rate, momentum=0.9, weight_decay=course.weight_decay, nesterov=True
    )
    steps = course.epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.peak_rate, total_steps=steps)
    model.train()
    for epoch in range(course.epochs):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(_mirrored(_scaled(images[chosen]))), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)


def _mirrored(images: Tensor) -> Tensor:
    """A random half of the batch, left and right exchanged: a shoe is one whichever way it points."""
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    model.eval()
    answers = torch.cat([model(_scaled(part)).argmax(1) for part in images.split(1_000)])
    return int((answers == labels).sum())


def _scaled(images: Tensor) -> Tensor:
    """As the recipe's default does it."""
    return images.float() / 255

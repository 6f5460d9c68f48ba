"""Train the MNIST networks: `python models/mnist/train.py [NAME...]` writes NAME.pt beside this file.

Seeded and single-threaded, so that a second run on the same machine gives the same weights. Only the 60,000
training images are looked at; the 10,000 test images are counted once, at the end. Weights are kept as
float16, which halves the files; the counts are those of the rounded weights.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from data import mnist
from model import lenet_5, lenet_300_100, mlp
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
BATCH = 100  # divides the 60,000 training images
PEAK_RATE = 0.05
MEAN, DEVIATION = 0.1307, 0.3081  # as in edgeprune.toml
SHIFT = 2  # pixels
NETWORKS = {"lenet_300_100": (lenet_300_100, 15), "lenet_5": (lenet_5, 8), "mlp": (mlp, 12)}
"""What builds each, and its epochs."""


def main() -> None:
    """Train the named networks (all without a name), report their errors, and write the state dicts."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (images, labels), (test_images, test_labels) = mnist()
    for name in sys.argv[1:] or NETWORKS:
        torch.manual_seed(SEED)
        started = time.process_time()
        build, epochs = NETWORKS[name]
        model = build()
        _train(model, _tensor(images), torch.from_numpy(labels), epochs)
        weights = {key: tensor.half() for key, tensor in model.state_dict().items()}
        model.load_state_dict(weights)
        wrong = _wrong(model, _tensor(test_images), torch.from_numpy(test_labels))
        print(
            f"{name}: {wrong} of {len(test_labels)} test images wrong, {time.process_time() - started:.0f} s"
        )
        torch.save(weights, Path(__file__).with_name(f"{name}.pt"))


def _train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(_shifted(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _shifted(images: Tensor) -> Tensor:
    """Move the batch by up to two pixels: mirroring would change what a digit means."""
    top, left = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    padded = F.pad(images, (SHIFT,) * 4, value=-MEAN / DEVIATION)
    return padded[:, :, top : top + 28, left : left + 28]


@torch.no_grad()
def _wrong(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    model.eval()
    return sum(
        int((model(part).argmax(1) != known).sum())
        for part, known in zip(images.split(1000), labels.split(1000), strict=True)
    )


def _tensor(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return (torch.from_numpy(images.astype(np.float32)) / 255 - MEAN) / DEVIATION


if __name__ == "__main__":
    main()

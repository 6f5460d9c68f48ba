"""Train the digits network: `python models/digits/train.py` writes digits.pt beside this file.

Seeded and single-threaded, so that a second run on the same machine gives the same weights. Only the
1,200 training images of data.py are looked at; the other 597 are counted once, at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from data import digits
from model import digits_net
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
EPOCHS = 40
BATCH = 50  # divides the 1,200 training images
PEAK_RATE = 0.1
GREY_LEVELS = 16.0  # as `scale` in edgeprune.toml


def main() -> None:
    """Train, report the accuracy on the unseen images, and write the state dict."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (images, labels), (test_images, test_labels) = digits()
    model = digits_net()
    _train(model, _tensor(images), torch.from_numpy(labels))
    right = _right(model, _tensor(test_images), torch.from_numpy(test_labels))
    print(f"{right} of {len(test_labels)} unseen images: {100 * right / len(test_labels):.2f} %")
    torch.save(model.state_dict(), Path(__file__).with_name("digits.pt"))


def _train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            logits = model(_shifted(images[chosen]))
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _shifted(images: Tensor) -> Tensor:
    """Move the batch by up to one pixel: mirroring would change what a digit means."""
    top, left = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, top : top + 8, left : left + 8]


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    model.eval()
    return int((model(images).argmax(1) == labels).sum())


def _tensor(images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(images) / GREY_LEVELS


if __name__ == "__main__":
    main()

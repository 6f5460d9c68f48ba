"""Train the network: `python models/fashion_mobile/train.py` writes fashion_mobile.pt beside this file.

Seeded and single-threaded, so that a second run on the same machine gives the same weights. Nothing is
chosen by the test images; they are counted once, at the end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from model import fashion_mobile
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parents[1] / "fashion_cnn"))
from data import fashion_mnist  # the images are those of the network next door

SEED = 0
EPOCHS = 12
BATCH = 120  # divides the 60,000 training images
PEAK_RATE = 0.4


def main() -> None:
    """Train, report the accuracy on the test images, and write the state dict."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    (images, labels), (test_images, test_labels) = fashion_mnist()
    model = fashion_mobile()
    started = time.process_time()
    _train(model, torch.from_numpy(images.copy()), torch.from_numpy(labels))
    print(f"{time.process_time() - started:.0f} seconds of one core")
    right = _right(model, torch.from_numpy(test_images.copy()), torch.from_numpy(test_labels))
    print(f"{right} of {len(test_labels)} test images: {100 * right / len(test_labels):.2f} %")
    torch.save(model.state_dict(), Path(__file__).with_name("fashion_mobile.pt"))


def _train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=1e-5, nesterov=True
    )
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    model.train()
    for epoch in range(EPOCHS):
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


if __name__ == "__main__":
    main()

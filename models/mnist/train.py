"""Train the MNIST networks: `python models/mnist/train.py [NAME...]` writes NAME.pt beside this file.

Seeded and single-threaded. 55,000 of the 60,000 training images are trained on, the other 5,000 tell how
well the recipe does; the 10,000 test images are counted once, at the end. Weights are kept as float16, which
halves the files; the counts are those of the rounded weights.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import Part, mnist
from model import lenet_5, lenet_300_100, mlp
from torch import Tensor, nn
from torch.nn import functional as F

SEED = 0
HELD_OUT = 5_000
BATCH = 128
WARM = 0.05  # share of the steps in which the rate rises
MEAN, DEVIATION = 0.1307, 0.3081  # as in edgeprune.toml


@dataclass(frozen=True)
class Recipe:
    """What builds a network, and how it is trained."""

    build: Callable[[], nn.Module]
    epochs: int
    rate: float
    shift: int  # pixels


RECIPES = {
    "lenet_300_100": Recipe(lenet_300_100, epochs=10, rate=0.05, shift=2),
    "lenet_5": Recipe(lenet_5, epochs=8, rate=0.03, shift=1),
    "mlp": Recipe(mlp, epochs=10, rate=0.05, shift=2),
}


def main() -> None:
    """Train the named networks (all without a name), report their errors, and write the state dicts."""
    torch.set_num_threads(1)
    train, test = mnist()
    order = torch.from_numpy(np.random.default_rng(SEED).permutation(len(train[1])))
    held_out, rest = _split(train, order[:HELD_OUT]), _split(train, order[HELD_OUT:])
    for name in sys.argv[1:] or RECIPES:
        torch.manual_seed(SEED)
        started = time.process_time()
        model = RECIPES[name].build()
        _train(model, *rest, RECIPES[name])
        weights = {key: tensor.half() for key, tensor in model.state_dict().items()}
        model.load_state_dict(weights)
        wrong = [_wrong(model, *part) for part in (held_out, _split(test))]
        print(
            f"{name}: {wrong[0]} of {HELD_OUT} held-out and {wrong[1]} of {len(test[1])} test images wrong, "
            f"{time.process_time() - started:.0f} s of processor time",
            flush=True,
        )
        torch.save(weights, Path(__file__).with_name(f"{name}.pt"))


def _train(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
    matrices = [one for one in model.parameters() if one.ndim > 1]
    biases = [one for one in model.parameters() if one.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)
    whole = len(images) // BATCH
    step, steps = 0, recipe.epochs * whole
    model.train()
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(images))[: whole * BATCH].split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate * _course(step, steps)
            logits = model(_shifted(images[chosen], recipe.shift))
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


def _course(step: int, steps: int) -> float:
    """A short rise, then a cosine to zero."""
    warm = max(1, round(WARM * steps))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def _shifted(images: Tensor, reach: int) -> Tensor:
    """Move each image by up to `reach` pixels; what comes in is background."""
    count = len(images)
    padded = F.pad(images, (reach,) * 4, value=-MEAN / DEVIATION)
    down, across = (torch.randint(0, 2 * reach + 1, (count,))[:, None] + torch.arange(28) for _ in range(2))
    return padded[torch.arange(count)[:, None, None], 0, down[:, :, None], across[:, None, :]].unsqueeze(1)


@torch.no_grad()
def _wrong(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    model.eval()
    return sum(
        int((model(part).argmax(1) != known).sum())
        for part, known in zip(images.split(1000), labels.split(1000), strict=True)
    )


def _split(part: Part, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    images, labels = (torch.from_numpy(one.copy()) for one in part)
    if chosen is not None:
        images, labels = images[chosen], labels[chosen]
    return (images.float() / 255 - MEAN) / DEVIATION, labels


if __name__ == "__main__":
    main()

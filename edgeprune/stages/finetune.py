"""Finetune: train the captured program, with cross-entropy and distillation from the original."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from edgeprune.core.errors import GateError
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program
from edgeprune.graph.train_mode import training

_BATCH = 128
_RATE = 0.01
_MOMENTUM = 0.9
_DECAY = 5e-4
_TEMPERATURE = 2.0
_DISTILLED = 0.7
"""Share of the loss that asks for the original's answers; the rest asks for the labels."""


def finetune(
    original: Program,
    shrunk: Program,
    train: Split,
    *,
    epochs: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> Program:
    """Train `shrunk` in place for some epochs; the learning rate follows a cosine to zero.

    Raises
    ------
    GateError
        The loss is no longer finite.
    """
    progress = progress or Silent()
    steps = epochs * -(-len(train) // _BATCH)
    progress.start("finetune", steps)
    parameters = [p for p in shrunk.module.parameters() if p.is_floating_point()]
    optimiser = torch.optim.SGD(parameters, lr=_RATE, momentum=_MOMENTUM, weight_decay=_DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))
    )
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    with training(shrunk):
        for _ in range(epochs):
            order = torch.randperm(len(train), generator=generator).numpy()
            epoch = Split(train.samples, train.indices[order], train.preprocess)
            for inputs, labels in epoch.batches(_BATCH):
                if len(inputs) < 2:
                    continue  # batch statistics need two images
                batch = torch.from_numpy(inputs)
                assert labels is not None
                loss = _loss(shrunk.module(batch), original.run(batch), torch.from_numpy(labels))
                if not torch.isfinite(loss):
                    raise GateError(
                        "fine-tuning diverged: the loss is not finite",
                        hint="leave --epochs out; the refitted network needs no training",
                    )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                progress.advance()
    progress.finish()
    return shrunk


def _loss(answers: torch.Tensor, wanted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy on labels and on the original's softened answers (Hinton et al. 2015)."""
    soft = F.kl_div(
        F.log_softmax(answers / _TEMPERATURE, 1),
        F.log_softmax(wanted / _TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - _DISTILLED) * F.cross_entropy(answers, labels) + _DISTILLED * _TEMPERATURE**2 * soft

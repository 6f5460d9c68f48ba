"""Finetune: train the captured program to answer like the original, and like the labels if there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.epochs import Epochs
from edgeprune.core.errors import GateError
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.recovery import Augment
from edgeprune.core.report import Finetuning
from edgeprune.core.samples import Split
from edgeprune.core.sparsity import Mask
from edgeprune.graph.capture import Program
from edgeprune.graph.checkpoint import Checkpoint, question_of
from edgeprune.graph.device import channels_last, has_bfloat16, placed, training_device
from edgeprune.graph.held_images import batches
from edgeprune.graph.learner import Learner
from edgeprune.graph.objective import Objective, agreed
from edgeprune.graph.processes import ALONE, Processes
from edgeprune.graph.repeated import CudaGraphs, Record, Repeated
from edgeprune.graph.settle import settled
from edgeprune.graph.train_mode import training
from edgeprune.graph.weights import copied

BATCH = 128
RATE = 0.01
_METHOD = "orthogonal steps, both sides"
"""Changes with how training goes on from a checkpoint, so that none of another method is taken up."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how to train."""

    epochs: int
    learning_rate: float = RATE
    augment: Augment = "none"
    seed: int = 0
    batch: int = BATCH
    objective: Objective = field(default_factory=Objective)
    annealed: bool = True
    """Whether the learning rate falls to zero in the end; it need not where another course goes on."""


def finetune(
    original: Program,
    shrunk: Program,
    train: Split,
    selection: Split,
    course: Course,
    *,
    fresh: Split | None = None,
    masks: Mapping[str, Mask] | None = None,
    checkpoint: Path | None = None,
    team: Processes = ALONE,
    progress: Progress | None = None,
) -> tuple[Program, Finetuning]:
    """Train `shrunk` in place; its last weights or their average stay, or, where training harmed, the start.

    Which of the first two, the smaller loss on the selection images says. The start comes back where its loss
    is smaller and training lost significantly more of them than the original would lose on new images
    (docs/decisions/0015-known-images.md). Training needs no labels: without them the original's answers are
    all it learns from.

    Parameters
    ----------
    fresh : labelled images, optional
        That the original was not trained on. Only the original is asked about them, and only where the start
        seems better: to see by how much it knows the selection images better (0 without them).
    masks : of arrays, optional
        Weights of `shrunk` by name that are zero where the mask is false, and have to stay so.
    checkpoint : path, optional
        Where the state after each epoch is kept; training goes on from it when it was interrupted.

    Raises
    ------
    GateError
        The loss is no longer finite.
    DataError, RequestError
        Fewer than two images per process, in all or in a batch.
    StorageError
        The checkpoint is damaged or cannot be written.
    """
    progress = progress or Silent()
    epochs = epochs_of(course, original, train, team)
    start = copied(shrunk)
    averages = _train(original, shrunk, epochs, course, masks, checkpoint, team, progress)
    choice = settled(original, shrunk, selection, start, averages, course.objective, fresh=fresh, team=team)
    return shrunk, Finetuning(
        epochs=course.epochs,
        images=len(train),
        labelled=train.labels is not None,
        batch=course.batch,
        learning_rate=course.learning_rate,
        augment=course.augment,
        processes=team.count,
        precision=_precision(),
        **asdict(choice),
    )


def epochs_of(course: Course, original: Program, train: Split, team: Processes = ALONE) -> Epochs:
    """The batches of a course; `team` shares them out."""
    size, part, parts = original.input_size, team.rank, team.count
    return Epochs(train, course.batch, size, course.augment, course.seed, part=part, parts=parts)


def _train(
    original: Program,
    shrunk: Program,
    epochs: Epochs,
    course: Course,
    masks: Mapping[str, Mask] | None,
    path: Path | None,
    team: Processes,
    progress: Progress,
) -> dict[str, Tensor]:
    """Run the epochs that are not done yet; the averaged weights."""
    device = training_device()
    threads = torch.get_num_threads()
    question = question_of(shrunk, course, len(epochs.split), team.count, threads, device, _METHOD)
    checkpoint = Checkpoint(path, question) if path is not None else None
    progress.start("finetune", course.epochs * epochs.steps)
    with placed(original, device), placed(shrunk, device), training(shrunk):
        learner = Learner(
            shrunk,
            peak=course.learning_rate,
            steps=course.epochs * epochs.steps,
            team=team,
            annealed=course.annealed,
            masks=masks,
        )
        state = team.told(checkpoint.load) if checkpoint is not None else None
        done = 0 if state is None else state.epochs
        if state is not None:
            learner.restore(state, done=done * epochs.steps)
            progress.advance(done * epochs.steps)
        step = _recorded(step_of(learner, original, shrunk, course), _recorder(device, team))
        images = batches(epochs, device)
        for number in range(done, course.epochs):
            torch.manual_seed(_dropout_seed(course.seed, number, team.rank))
            for place, (inputs, labels, share) in enumerate(images.epoch(number), start=1):
                learner.begin()
                loss = step(inputs, labels, share)
                # Reading a loss waits for the device: a queue of steps is let go on until the epoch ends.
                if device.type == "cpu" or place == epochs.steps:
                    _require_finite(loss)
                progress.advance()
            if checkpoint is not None and team.first:
                checkpoint.save(learner.state(number + 1))
        averages = {name: tensor.cpu().contiguous() for name, tensor in learner.averaged().items()}
    progress.finish()
    return averages


Step = Callable[[Tensor, Tensor | None, float], Tensor]
"""A step of training on inputs, labels and the share they have in a batch; it returns the loss."""


def step_of(learner: Learner, original: Program, shrunk: Program, course: Course) -> Step:
    """One step of `shrunk`, which `learner` holds, on the device where both programs are; not recorded.

    The original is not asked where its answers have no weight. Where images are mirrored it is asked about
    both sides of each, and both answers count alike (docs/decisions/0018-orthogonal-steps.md).
    """
    device, objective = training_device(), course.objective
    half, cuda = has_bfloat16(device), device.type == "cuda"
    turned = cuda and channels_last(shrunk)

    def step(inputs: Tensor, labels: Tensor | None, share: float) -> Tensor:
        if turned:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        wanted: Tensor | None = None
        # No weight is used twice, and a recording must not find one that was cast before it began.
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=not cuda):
            if labels is None or objective.distilled:
                wanted = _wanted(original, inputs, mirrored=course.augment == "flip")
            found = shrunk.module(inputs).float()
        return learner.step(objective.loss(found, wanted, labels), share)

    return step


def _wanted(original: Program, inputs: Tensor, *, mirrored: bool) -> Tensor:
    """What the original answers; where an answer is about a whole image, what both of its sides agree on."""
    if not mirrored or inputs.ndim != 4:
        return original.run(inputs).float()
    first, second = original.run(torch.cat([inputs, inputs.flip(-1)])).float().chunk(2)
    return agreed(torch.stack([first, second])) if first.ndim == 2 else first


def _recorded(step: Step, record: Record | None) -> Step:
    """The step itself, or replayed from a recording of it."""
    if record is None:
        return step
    repeated = Repeated(lambda inputs, labels=None: step(inputs, labels, 1.0), record)
    return lambda inputs, labels, share: repeated(inputs, *([] if labels is None else [labels]))


def _recorder(device: torch.device, team: Processes) -> Record | None:
    """How steps are recorded: on a CUDA device, unless other processes have a word in every step."""
    return CudaGraphs() if device.type == "cuda" and team.count == 1 else None


def _require_finite(loss: Tensor) -> None:
    if not torch.isfinite(loss):
        raise GateError(
            "fine-tuning diverged: the loss is not finite",
            hint="lower --learning-rate, or leave --epochs out; the refitted network needs no training",
        )


def _precision() -> Literal["float32", "bfloat16"]:
    return "bfloat16" if has_bfloat16(training_device()) else "float32"


def _dropout_seed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])

"""Finetune: train the captured program to answer like the original, and like the labels if there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.core.epochs import Epochs
from edgeprune.core.errors import GateError
from edgeprune.core.paired import mcnemar_p_value
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.recovery import Augment
from edgeprune.core.report import Finetuning, Weights
from edgeprune.core.samples import Split
from edgeprune.core.sparsity import Mask
from edgeprune.graph.answer import answers
from edgeprune.graph.capture import Program
from edgeprune.graph.checkpoint import Checkpoint, question_of
from edgeprune.graph.device import channels_last, has_bfloat16, placed, training_device
from edgeprune.graph.held_images import batches
from edgeprune.graph.learner import Learner
from edgeprune.graph.processes import ALONE, Processes
from edgeprune.graph.repeated import CudaGraphs, Record, Repeated
from edgeprune.graph.streams import streams, tapped
from edgeprune.graph.train_mode import training
from edgeprune.graph.weights import copied, write

BATCH = 128
RATE = 0.01
_TEMPERATURE = 2.0
_DISTILLED = 0.7
"""Share of the loss that asks for the original's answers; the rest asks for the labels."""
_CHANCE = 0.05
"""Of McNemar's test: training that lost more selection images than this lets chance explain has harmed."""
_MATCHED = 200.0
"""Weight of the streams' mean error against the losses of the answers."""
_TINY = 1e-12
_SMOOTHING = 0.1
"""Of the labels only: the original's answers are soft already."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how to train."""

    epochs: int
    learning_rate: float = RATE
    augment: Augment = "none"
    seed: int = 0


def finetune(
    original: Program,
    shrunk: Program,
    train: Split,
    selection: Split,
    course: Course,
    *,
    masks: Mapping[str, Mask] | None = None,
    checkpoint: Path | None = None,
    team: Processes = ALONE,
    progress: Progress | None = None,
) -> tuple[Program, Finetuning]:
    """Train `shrunk` in place; its last weights or their average stay, or, where training harmed, the start.

    Which of the first two, the smaller loss on the selection images says. The start comes back where its loss
    is smaller and it answers significantly more of them right, too: a network that was refitted to the
    original's answers is closest to them on images that the original knows, not on new ones
    (docs/decisions/0013-start-of-training.md). Training needs no labels: without them the original's
    answers are all it learns from.

    Parameters
    ----------
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
    epochs = Epochs(
        train, BATCH, original.input_size, course.augment, course.seed, part=team.rank, parts=team.count
    )
    start = copied(shrunk)
    found: dict[Weights, _Standing] = {"start": team.told(lambda: _standing(original, shrunk, selection))}
    # A network with one weight in many has no room for another's maps beside its answers.
    # Streams are paired by name, and a network that an interrupted run reads back has others: training that
    # can go on does without them, so that it ends with the same weights.
    matched = streams(original, shrunk) if masks is None and checkpoint is None else ()
    averages = _train(original, shrunk, matched, epochs, course, masks, checkpoint, team, progress)
    last = copied(shrunk)
    candidates: dict[Weights, dict[str, Tensor]] = {"start": start, "last": last, "averaged": averages}
    for name in ("last", "averaged"):
        write(shrunk, candidates[name])
        found[name] = team.told(lambda: _standing(original, shrunk, selection))
    kept = _best(found)
    write(shrunk, candidates[kept])
    return shrunk, Finetuning(
        epochs=course.epochs,
        images=len(train),
        labelled=train.labels is not None,
        batch=BATCH,
        learning_rate=course.learning_rate,
        augment=course.augment,
        processes=team.count,
        matched=len(matched),
        precision=_precision(),
        losses={name: one.loss if np.isfinite(one.loss) else None for name, one in found.items()},
        kept=kept,
    )


def _train(
    original: Program,
    shrunk: Program,
    matched: Sequence[str],
    epochs: Epochs,
    course: Course,
    masks: Mapping[str, Mask] | None,
    path: Path | None,
    team: Processes,
    progress: Progress,
) -> dict[str, Tensor]:
    """Run the epochs that are not done yet; the averaged weights."""
    device = training_device()
    question = question_of(shrunk, course, len(epochs.split), team.count, torch.get_num_threads(), device)
    checkpoint = Checkpoint(path, question) if path is not None else None
    progress.start("finetune", course.epochs * epochs.steps)
    with placed(original, device), placed(shrunk, device), training(shrunk):
        learner = Learner(
            shrunk, peak=course.learning_rate, steps=course.epochs * epochs.steps, team=team, masks=masks
        )
        state = team.told(checkpoint.load) if checkpoint is not None else None
        done = 0 if state is None else state.epochs
        if state is not None:
            learner.restore(state, done=done * epochs.steps)
            progress.advance(done * epochs.steps)
        step = _steps(learner, original, shrunk, matched, device, _recorder(device, team))
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


def _steps(
    learner: Learner,
    original: Program,
    shrunk: Program,
    matched: Sequence[str],
    device: torch.device,
    record: Record | None,
) -> Callable[[Tensor, Tensor | None, float], Tensor]:
    """A step of training on inputs, labels and the share they have in a batch; it returns the loss."""
    half, cuda = has_bfloat16(device), device.type == "cuda"
    turned = cuda and channels_last(shrunk)
    teacher, pupil = tapped(original, matched), tapped(shrunk, matched)

    def step(inputs: Tensor, labels: Tensor | None, share: float) -> Tensor:
        if turned:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        # No weight is used twice, and a recording must not find one that was cast before it began.
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=not cuda):
            with torch.no_grad():
                wanted, *wanted_streams = (one.float() for one in teacher(inputs))
            found, *found_streams = (one.float() for one in pupil(inputs))
        loss = _loss(found, wanted, labels, smoothing=_SMOOTHING)
        return learner.step(loss + _MATCHED * _apart(found_streams, wanted_streams), share)

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


def _loss(found: Tensor, wanted: Tensor, labels: Tensor | None, *, smoothing: float) -> Tensor:
    """Cross-entropy on labels and on the original's softened answers (Hinton et al. 2015)."""
    soft = F.kl_div(
        F.log_softmax(found / _TEMPERATURE, 1),
        F.log_softmax(wanted / _TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    soft = _TEMPERATURE**2 * soft
    if labels is None:
        return soft
    hard = F.cross_entropy(found, labels, label_smoothing=smoothing)
    return (1 - _DISTILLED) * hard + _DISTILLED * soft


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor | float:
    """Squared error of the streams over their squares, averaged over all (Romero et al. 2015)."""
    if not wanted:
        return 0.0
    parts = [
        ((one - other).flatten(1).square().sum(1) / other.flatten(1).square().sum(1).clamp_min(_TINY)).mean()
        for one, other in zip(found, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


@dataclass(frozen=True, slots=True, eq=False)
class _Standing:
    """The mean loss on a split, infinite where an answer is not finite, and which images were answered right.

    Without labels right is what the original says.
    """

    loss: float
    right: NDArray[np.bool_]


def _standing(original: Program, shrunk: Program, split: Split) -> _Standing:
    """How a network does in evaluation mode."""
    batches = list(split.inputs(BATCH))
    wanted, found = (torch.from_numpy(np.concatenate([*answers(one, batches)])) for one in (original, shrunk))
    labels = None if split.labels is None else torch.from_numpy(split.labels)
    loss = float(_loss(found, wanted, labels, smoothing=0.0))
    right = found.argmax(1) == (wanted.argmax(1) if labels is None else labels)
    return _Standing(loss if np.isfinite(loss) else float("inf"), right.numpy())


def _best(found: Mapping[Weights, _Standing]) -> Weights:
    """The trained weights with the smaller loss, if they are not worse than the start beyond chance."""
    trained: Weights = "last" if found["last"].loss < found["averaged"].loss else "averaged"
    before, after = found["start"], found[trained]
    if not np.isfinite(after.loss):
        return "start"
    lost, gained = int((before.right & ~after.right).sum()), int((after.right & ~before.right).sum())
    fewer = lost > gained and mcnemar_p_value(lost, gained) < _CHANCE
    return "start" if fewer and before.loss < after.loss else trained


def _precision() -> Literal["float32", "bfloat16"]:
    return "bfloat16" if has_bfloat16(training_device()) else "float32"


def _dropout_seed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])

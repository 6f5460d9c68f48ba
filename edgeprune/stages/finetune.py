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
from edgeprune.core.paired import confidence_of_drop
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
_CHANCE = 0.025
"""Training that lost more selection images than this lets chance explain has harmed."""
_FRESH = 2_000
"""Images that say how much worse the original does on new ones: to a point."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Objective:
    """What training asks for."""

    distilled: float = 0.7
    """Share of the loss that asks for the original's answers; the rest asks for the labels."""
    smoothing: float = 0.1
    """Of the labels only: the original's answers are soft already."""
    matched: float = 200.0
    """Weight of the streams' mean error against the losses of the answers."""
    fading: bool = False
    """Whether that weight falls with the learning rate, so that the answers have the last word."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how to train."""

    epochs: int
    learning_rate: float = RATE
    augment: Augment = "none"
    seed: int = 0
    batch: int = BATCH
    objective: Objective = Objective()


_JUDGED = Objective(smoothing=0.0, matched=0.0)
"""What weights are compared by: the labels as they are."""


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
        That the original was not trained on. Only the original is asked about them, to see by how much it
        knows the selection images better; without them it is taken to know those no better.
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
    # A network with one weight in many has no room for another's maps beside its answers.
    matched = streams(original, shrunk) if masks is None and course.objective.matched else ()
    averages = _train(original, shrunk, matched, epochs, course, masks, checkpoint, team, progress)
    kept, losses = settled(original, shrunk, selection, start, averages, fresh=fresh, team=team)
    return shrunk, Finetuning(
        epochs=course.epochs,
        images=len(train),
        labelled=train.labels is not None,
        batch=course.batch,
        learning_rate=course.learning_rate,
        augment=course.augment,
        processes=team.count,
        matched=len(matched),
        precision=_precision(),
        losses=losses,
        kept=kept,
    )


def epochs_of(course: Course, original: Program, train: Split, team: Processes = ALONE) -> Epochs:
    """The batches of a course; `team` shares them out."""
    size, part, parts = original.input_size, team.rank, team.count
    return Epochs(train, course.batch, size, course.augment, course.seed, part=part, parts=parts)


def settled(
    original: Program,
    shrunk: Program,
    selection: Split,
    start: dict[str, Tensor],
    averages: dict[str, Tensor],
    *,
    fresh: Split | None = None,
    team: Processes = ALONE,
) -> tuple[Weights, dict[Weights, float | None]]:
    """Write the best of three into a trained program: its last weights, their averages, the start.

    Which it was, and the loss of each on the selection images, None where it is not finite.
    """
    candidates: dict[Weights, dict[str, Tensor]] = {
        "start": start,
        "last": copied(shrunk),
        "averaged": averages,
    }
    found: dict[Weights, _Standing] = {}
    for name, tensors in candidates.items():
        write(shrunk, tensors)
        found[name] = team.told(lambda: _standing(original, shrunk, selection))
    kept = _best(found, lambda: team.told(lambda: _known(original, selection, fresh)))
    write(shrunk, candidates[kept])
    return kept, {name: one.loss if np.isfinite(one.loss) else None for name, one in found.items()}


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
        step = _recorded(
            step_of(learner, original, shrunk, matched, course.objective), _recorder(device, team)
        )
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


def step_of(
    learner: Learner, original: Program, shrunk: Program, matched: Sequence[str], objective: Objective
) -> Step:
    """One step of `shrunk`, which `learner` holds, on the device where both programs are; not recorded.

    The original is not asked where its answers have no weight.
    """
    device = training_device()
    half, cuda = has_bfloat16(device), device.type == "cuda"
    turned = cuda and channels_last(shrunk)
    matched = matched if objective.matched else ()
    teacher, pupil = tapped(original, matched), tapped(shrunk, matched)

    def step(inputs: Tensor, labels: Tensor | None, share: float) -> Tensor:
        if turned:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        wanted: list[Tensor] = []
        # No weight is used twice, and a recording must not find one that was cast before it began.
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=not cuda):
            if labels is None or objective.distilled or matched:
                with torch.no_grad():
                    wanted = [one.float() for one in teacher(inputs)]
            found, *streams_found = (one.float() for one in pupil(inputs))
        loss = _loss(found, wanted[0] if wanted else None, labels, objective)
        if matched:
            weight = objective.matched * (learner.pace if objective.fading else 1.0)
            loss = loss + weight * _apart(streams_found, wanted[1:])
        return learner.step(loss, share)

    return step


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


def _loss(found: Tensor, wanted: Tensor | None, labels: Tensor | None, objective: Objective) -> Tensor:
    """Cross-entropy on labels and on the original's softened answers (Hinton et al. 2015)."""
    share = 1.0 if labels is None else objective.distilled
    parts = []
    if labels is not None and share < 1:
        hard = F.cross_entropy(found, labels, label_smoothing=objective.smoothing)
        parts.append((1 - share) * hard)
    if wanted is not None and share > 0:
        soft = F.kl_div(
            F.log_softmax(found / _TEMPERATURE, 1),
            F.log_softmax(wanted / _TEMPERATURE, 1),
            reduction="batchmean",
            log_target=True,
        )
        parts.append(share * _TEMPERATURE**2 * soft)
    return torch.stack(parts).sum()


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared error of the streams over their squares, averaged over all (Romero et al. 2015)."""
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
    loss = float(_loss(found, wanted, labels, _JUDGED))
    right = found.argmax(1) == (wanted.argmax(1) if labels is None else labels)
    return _Standing(loss if np.isfinite(loss) else float("inf"), right.numpy())


def _best(found: Mapping[Weights, _Standing], known: Callable[[], float]) -> Weights:
    """The trained weights with the smaller loss, if they are not worse than the start beyond chance.

    A network that was refitted to the original's answers knows the images that the original was trained on,
    and a trained one forgets those it is not shown: so many points of accuracy, which `known` gives, are no
    harm.
    """
    trained: Weights = "last" if found["last"].loss < found["averaged"].loss else "averaged"
    before, after = found["start"], found[trained]
    if not np.isfinite(after.loss):
        return "start"
    lost, gained = int((before.right & ~after.right).sum()), int((after.right & ~before.right).sum())
    if lost <= gained or before.loss >= after.loss:
        return trained
    harmless = confidence_of_drop(lost, gained, len(before.right), at_most=known())
    return "start" if harmless < _CHANCE else trained


def _known(original: Program, selection: Split, fresh: Split | None) -> float:
    """By how many points of accuracy the original does better on the selection images than on new ones."""
    if selection.labels is None or fresh is None or fresh.labels is None:
        return 0.0
    # From all over: test images may lie class by class.
    places = np.linspace(0, len(fresh) - 1, min(_FRESH, len(fresh))).astype(np.int64)
    old, new = (
        100 * float(_standing(original, original, split).right.mean())
        for split in (selection, fresh.at(places))
    )
    return max(0.0, old - new)


def _precision() -> Literal["float32", "bfloat16"]:
    return "bfloat16" if has_bfloat16(training_device()) else "float32"


def _dropout_seed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])

"""Together: several networks trained side by side, each step of all of them one launch.

A small network leaves most of a large card idle, and processes take turns on it. Branches of one CUDA graph
do not: the kernels of several networks run at the same time. Each network goes its own course, as
`stages.finetune` would take it there alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgeprune.core.progress import Progress, Silent
from edgeprune.core.samples import Split
from edgeprune.graph import learner as learner_module
from edgeprune.graph.capture import Program
from edgeprune.graph.device import placed, training_device
from edgeprune.graph.held_images import Part, batches
from edgeprune.graph.learner import Learner
from edgeprune.graph.processes import ALONE
from edgeprune.graph.repeated import CudaGraphs, Repeated
from edgeprune.graph.train_mode import training
from edgeprune.stages.finetune import Course, Step, epochs_of, step_of


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """A network, what it learns from, and how."""

    original: Program
    shrunk: Program
    train: Split
    course: Course
    orthogonal: bool = True
    """Whether its weights take orthogonal steps; all go by their gradients otherwise."""


@contextmanager
def steps(*, orthogonal: bool) -> Iterator[None]:
    """How the weights of a learner that is made in here move."""
    held = learner_module.matrices
    if not orthogonal:
        learner_module.matrices = lambda program: set()
    try:
        yield
    finally:
        learner_module.matrices = held


def trained_together(
    pupils: Sequence[Pupil], *, at_most: int | None = None, progress: Progress | None = None
) -> list[dict[str, Tensor]]:
    """Train all of them in place; the averaged weights of each.

    All have to make the same number of steps; `at_most` stops them earlier, to see how long steps take.
    """
    progress = progress or Silent()
    device = training_device()
    with ExitStack() as stack:
        for program in _different([one for pupil in pupils for one in (pupil.original, pupil.shrunk)]):
            stack.enter_context(placed(program, device))
        for pupil in pupils:
            stack.enter_context(training(pupil.shrunk))
        sources = _Sources(pupils, device)
        epochs = pupils[0].course.epochs
        learners = [_learner(one, epochs * sources.steps) for one in pupils]
        own_steps = [
            step_of(learner, one.original, one.shrunk, one.course)
            for learner, one in zip(learners, pupils, strict=True)
        ]
        step = Repeated(
            _side_by_side(own_steps, sources.places, device), CudaGraphs() if device.type == "cuda" else None
        )
        done, started = 0, time.perf_counter()
        for number in range(epochs):
            for parts in sources.epoch(number):
                for learner in learners:
                    learner.begin()
                losses = step(*(tensor for inputs, labels, _ in parts for tensor in (inputs, labels)))
                progress.advance()
                done += 1
                if done == at_most:
                    break
            _require_finite(losses)
            _say(f"epoch {number + 1} of {epochs}, {time.perf_counter() - started:.1f} s: {losses.tolist()}")
            if done == at_most:
                break
        progress.finish()
        return [
            {name: tensor.cpu().contiguous() for name, tensor in learner.averaged().items()}
            for learner in learners
        ]


def _learner(pupil: Pupil, count: int) -> Learner:
    with steps(orthogonal=pupil.orthogonal):
        course = pupil.course
        return Learner(
            pupil.shrunk, peak=course.learning_rate, steps=count, team=ALONE, annealed=course.annealed
        )


class _Sources:
    """The batches of all pupils; those that draw the same ones share them."""

    def __init__(self, pupils: Sequence[Pupil], device: torch.device) -> None:
        drawn: dict[tuple[Any, ...], Any] = {}
        self.places: list[int] = []
        """Which of the sources each pupil reads."""
        for one in pupils:
            course = one.course
            key = (id(one.train), course.batch, course.augment, course.seed)
            if key not in drawn:
                drawn[key] = epochs_of(course, one.original, one.train)
            self.places.append(list(drawn).index(key))
        counts = {(epochs.steps, one.course.epochs) for epochs in drawn.values() for one in pupils}
        if len(counts) > 1:
            raise SystemExit(f"error: networks trained together make the same steps, not {sorted(counts)}")
        self.steps = next(iter(counts))[0]
        self._held = [batches(epochs, device) for epochs in drawn.values()]

    def epoch(self, number: int) -> Any:
        """One batch of every source at a time."""
        return zip(*(held.epoch(number) for held in self._held), strict=True)


def _side_by_side(
    steps: Sequence[Step], places: Sequence[int], device: torch.device
) -> Callable[..., Tensor]:
    """A step of all, on inputs and labels of every source: on a CUDA device in a stream of its own each."""
    branches = [torch.cuda.Stream(device) for _ in steps] if device.type == "cuda" else []

    def step(*given: Tensor) -> Tensor:
        parts: list[Part] = [(given[place], given[place + 1], 1.0) for place in range(0, len(given), 2)]
        if not branches:
            return torch.stack([one(*parts[place]) for one, place in zip(steps, places, strict=True)])
        here, losses = torch.cuda.current_stream(device), []
        for branch, one, place in zip(branches, steps, places, strict=True):
            branch.wait_stream(here)
            with torch.cuda.stream(branch):
                losses.append(one(*parts[place]))
        for branch in branches:
            here.wait_stream(branch)
        return torch.stack(losses)

    return step


def _different(programs: Sequence[Program]) -> list[Program]:
    return list({id(one): one for one in programs}.values())


def _require_finite(losses: Tensor) -> None:
    if not torch.isfinite(losses).all():
        raise SystemExit(f"error: a loss is not finite: {losses.tolist()}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

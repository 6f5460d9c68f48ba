"""Job: what every stage of one run has to hand."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.core.plan import Cost
from edgeprune.core.progress import Progress
from edgeprune.core.protocols import Criterion
from edgeprune.core.recovery import default_augment
from edgeprune.core.registry import build_from
from edgeprune.core.request import Request
from edgeprune.core.samples import Split, Splits
from edgeprune.core.size import SizeBound
from edgeprune.core.target import Target
from edgeprune.graph.capture import Program
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.pipeline.shared_run import SharedRun
from edgeprune.stages.finetune import BATCH, RATE, Course

CHOOSING = 500
"""Selection images that settle a choice (an option, whether a refit helped); bounds are judged on all."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """The question, the network, the images, and where results are kept."""

    request: Request
    target: Target
    coupling: Coupling
    splits: Splits | None
    criterion: str
    size: SizeBound | None
    run: SharedRun
    progress: Progress

    @property
    def original(self) -> Program:
        """The network as it came."""
        return self.coupling.program

    @property
    def before(self) -> Cost:
        """What the network cost as it came."""
        return count(self.coupling)

    @property
    def choosing(self) -> Split | None:
        """The images that settle a choice."""
        return self.splits.ranking.take(CHOOSING) if self.splits else None

    @property
    def compares_classes(self) -> bool:
        """Whether the criterion ranks by what tells classes apart, as far as that is known."""
        ranking: Criterion = build_from("criteria", self.criterion)
        return "moments" in ranking.needs

    def course(self, epochs: int, *, number: int = 1, annealed: bool = True) -> Course:
        """The training that was asked for, so many epochs of it.

        Courses of another `number` see the images in another order.
        """
        asked = self.request.recovery
        return Course(
            epochs=epochs,
            learning_rate=asked.learning_rate or RATE,
            augment=asked.augment or default_augment(self.original.input_size),
            seed=self.request.seed + number - 1,
            batch=asked.batch or BATCH,
            annealed=annealed,
        )

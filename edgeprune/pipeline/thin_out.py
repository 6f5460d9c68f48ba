"""Thin out: take single connections away and train, in rounds, then remove units that nothing reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edgeprune.core.journal import Documents, hidden
from edgeprune.core.registry import build_from
from edgeprune.core.replication import incomparable, ranked_without_f
from edgeprune.core.report import Finetuning, Thinned
from edgeprune.core.sparsity import SPARSITY, Sparsity
from edgeprune.core.zeros import zeros_on
from edgeprune.graph.couple import couple
from edgeprune.graph.weights import write
from edgeprune.pipeline.cutting import Made
from edgeprune.pipeline.kept import Cut, CutStore, Finetuned, FinetunedStore
from edgeprune.stages.disconnect import disconnect, nonzeros
from edgeprune.stages.finetune import finetune
from edgeprune.stages.shrink import shrink
from edgeprune.stages.sweep import sweep
from edgeprune.stages.thin import thin

if TYPE_CHECKING:
    from edgeprune.core.samples import Split
    from edgeprune.graph.capture import Program
    from edgeprune.pipeline.job import Job

DEFAULT_CRITERION = "screening"
UNLABELLED_CRITERION = "wanda"
DATA_FREE_CRITERION = "l2"
_ROUNDS = 20
"""At most, where nothing is said."""


def thin_out(job: Job) -> Made:
    """Rounds of taking connections away and training what is left, with zeros held at zero."""
    request, run = job.request, job.run
    assert request.thinning is not None
    network, finetuning = job.original, None
    # A pattern is reached in one step.
    rounds = request.thinning.rounds if request.thinning.pattern is None else 1
    courses = shared_out(request.epochs if job.splits is not None else 0, rounds)
    for number, epochs in enumerate(courses, 1):
        done = number / len(courses)
        sparsity = run.stage(
            f"thin {number}",
            partial(_thin, job, network, done),
            Documents(Sparsity, SPARSITY if done == 1 else hidden(f"sparsity-{number}.json")),
        )
        network = disconnect(network, sparsity)
        if epochs:
            trained = run.stage(
                f"train {number}",
                partial(_train, job, network, sparsity, epochs, number, last=number == len(courses)),
                FinetunedStore(number),
                shared=True,
            )
            # Into the graph as it was captured: one that was read back is another, and plans name graphs.
            write(network, trained.program.tensors())
            finetuning = trained.finetuning
    coupling = couple(network, request.allow_inexact)
    plan = sweep(coupling, criterion=job.criterion, budget=request.thinning.words(), seed=request.seed)
    cut = run.stage("sweep", lambda: Cut(*shrink(coupling, plan)), CutStore(coupling))
    return Made(
        cut.program,
        cut.plan,
        cut.proof,
        finetuning=_of_all(finetuning, request.epochs),
        thinned=_thinned(job, cut, sparsity, len(courses)),
    )


def default_connection_criterion(calibration: Split | None) -> str:
    """How connections are ranked when nothing is said: by what the data can tell."""
    if calibration is None:
        return DATA_FREE_CRITERION
    return UNLABELLED_CRITERION if calibration.labels is None else DEFAULT_CRITERION


def shared_out(epochs: int, rounds: int | None) -> list[int]:
    """Epochs for each round: the last, after which nothing goes any more, has half of them or more.

    Where nothing is said, one for each of the others, as long as there are no more than `_ROUNDS`; where more
    rounds are asked for than that leaves room for, the last has less.
    """
    count = rounds or min(_ROUNDS, epochs // 2 + 1)
    each = max(1, epochs // (2 * (count - 1))) if count > 1 else 0
    return [*[each] * (count - 1), epochs - each * (count - 1)]


def _thin(job: Job, network: Program, done: float) -> Sparsity:
    request = job.request
    assert request.thinning is not None
    return thin(
        couple(network, request.allow_inexact),
        job.splits.calibration if job.splits else None,
        build_from("criteria", job.criterion),
        request.thinning,
        name=job.criterion,
        done=done,
        selection=job.choosing,
        trained=request.epochs > 0,
        seed=request.seed,
        progress=job.progress,
    )


def _train(
    job: Job, network: Program, sparsity: Sparsity, epochs: int, number: int, *, last: bool
) -> Finetuned:
    assert job.splits is not None
    return Finetuned(
        *finetune(
            job.original,
            network,
            job.splits.training,
            job.splits.selection,
            # Connections go while the rate is high, and what is left of them settles in the last round.
            # A round that diverged is not gone on from: its start comes back.
            job.course(epochs, number=number, annealed=last),
            fresh=job.splits.test,
            masks=sparsity.masks(),
            # One for all rounds: the state of a round that is finished is of no use.
            checkpoint=job.run.folder / hidden("checkpoint.pt"),
            team=job.run.team,
            progress=job.progress,
        )
    )


def _of_all(last: Finetuning | None, epochs: int) -> Finetuning | None:
    """What the last round did, with the epochs of all."""
    return None if last is None else last.model_copy(update={"epochs": epochs})


def _thinned(job: Job, cut: Cut, sparsity: Sparsity, rounds: int) -> Thinned:
    kept, parameters = nonzeros(cut.program)
    why = incomparable(job.splits.calibration) if job.splits is not None else None
    note = ranked_without_f(why, job.criterion) if why is not None and job.compares_classes else ""
    if job.request.criterion is None and (job.splits is None or job.splits.calibration.labels is None):
        missing = "images" if job.splits is None else "labels"
        note = f"no {missing} to compare classes by: {sparsity.criterion} ranked the connections"
    return Thinned(
        budget=sparsity.budget,
        rounds=rounds,
        weights={name: one.weights for name, one in sparsity.connections.items()},
        kept=kept,
        parameters=parameters,
        units_gone=sum(len(one.removed) for one in cut.plan.cuts),
        whole=sparsity.whole,
        zeros=zeros_on(job.target, job.request.formats),
        note=note,
    )

"""From the original to the network that is delivered: screen > plan > shrink > compensate > finetune.

Once as a rule. In rounds, every round but the last goes a part of the way and the next one screens what
it left; the plan of each is put in terms of the original, so that the last one is the plan of the whole cut.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgeprune.core.journal import Documents, hidden
from edgeprune.core.plan import Plan, composed
from edgeprune.core.protocols import Criterion
from edgeprune.core.registry import build_from
from edgeprune.core.replication import ranked_without_f
from edgeprune.core.report import Compensation, Finetuning, Proof, Thinned
from edgeprune.core.samples import Splits
from edgeprune.core.screening import Screening
from edgeprune.core.search import Search
from edgeprune.graph.arrange import Arrangement, arrange, by_strength
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.narrowing import carry_over
from edgeprune.graph.planned import plan_of
from edgeprune.pipeline.job import Job
from edgeprune.pipeline.kept import Cut, CutStore, Finetuned, FinetunedStore, Refitted, RefittedStore
from edgeprune.pipeline.search import searched
from edgeprune.stages.compensate import compensate
from edgeprune.stages.finetune import finetune
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """The network after a round, and how it came about."""

    program: Program
    plan: Plan
    proof: Proof
    compensation: Compensation | None = None
    finetuning: Finetuning | None = None
    search: Search | None = None
    thinned: Thinned | None = None
    note: str = ""
    """What a reader must know of the ranking."""


@dataclass(frozen=True, slots=True)
class Round:
    """One of several rounds; the first is 1."""

    number: int
    rounds: int

    @property
    def early(self) -> int | None:
        """Its number if others follow."""
        return None if self.number == self.rounds else self.number

    @property
    def share(self) -> float:
        """How much of the way to the budget lies behind after it."""
        return self.number / self.rounds

    def name(self, stage: str) -> str:
        """What a stage is called in this round."""
        return stage if self.early is None else f"{stage} {self.early}"

    def epochs(self, all: int) -> int:
        """Its share of the epochs; what does not divide falls to the later ones."""
        return all * self.number // self.rounds - all * (self.number - 1) // self.rounds


def cut_network(job: Job) -> Made:
    """The network cut to its budget, refitted and trained."""
    made: Made | None = None
    for number in range(1, job.request.rounds + 1):
        made = _cut_once(job, Round(number, job.request.rounds), made)
    assert made is not None, "there is at least one round"
    return made


def _cut_once(job: Job, turn: Round, before: Made | None) -> Made:
    run, early = job.run, turn.early
    ranked = _ranked(job, before)
    screening = run.stage(
        turn.name("screen"),
        lambda: _screen(job, ranked.coupling),
        Documents(Screening, hidden(f"screening-{early}.json") if early else "screening.json"),
        shared=True,
    )
    search = None
    if job.request.budget.max_drop is not None:
        search = searched(dataclasses.replace(job, coupling=ranked.coupling), screening)
    proposal = run.stage(
        turn.name("plan"),
        lambda: _plan(job, turn, ranked, screening, before, search),
        Documents(Plan, hidden(f"proposal-{early}.json" if early else "proposal.json")),
    )
    cut = run.stage(turn.name("shrink"), lambda: _shrink(job, proposal), CutStore(job.coupling, early))
    network = cut.program
    if before is not None:
        network = carry_over(before.program, network, before.plan.tensors, cut.plan.tensors)
    made = Made(network, cut.plan, cut.proof, search=search, note=_note(job, screening))
    return made if job.splits is None else _recovered(job, turn, made, job.splits)


def _recovered(job: Job, turn: Round, made: Made, splits: Splits) -> Made:
    """Refitted, and trained for the round's share of the epochs."""
    refitted = job.run.stage(
        turn.name("compensate"),
        lambda: _compensate(job, made, splits),
        RefittedStore(made.program, turn.early),
    )
    made = dataclasses.replace(made, program=refitted.program, compensation=refitted.compensation)
    epochs = turn.epochs(job.request.epochs)
    if not epochs:
        return made
    finetuned = job.run.stage(
        turn.name("finetune"),
        lambda: _finetune(job, turn, refitted.program, epochs, splits),
        FinetunedStore(turn.early),
        shared=True,
    )
    so_far = {"epochs": job.request.epochs * turn.number // turn.rounds}
    done = finetuned.finetuning.model_copy(update=so_far)
    return dataclasses.replace(made, program=finetuned.program, finetuning=done)


def _ranked(job: Job, before: Made | None) -> Arrangement:
    """What to screen and plan on: channels of one rank within their lanes make a unit.

    What an earlier round cut stays in the units it was put in, and a group that lost lanes in its places.
    """
    coupling = job.coupling if before is None else _coupled_again(job, before.program)
    cut = set() if before is None else {one.group for one in before.plan.cuts}
    whole = {name: lanes.count for name, lanes in job.coupling.lanes.items() if name not in cut}
    orders = {name: order for name, order in by_strength(coupling).items() if len(order) == whole.get(name)}
    return arrange(coupling, orders, job.request.allow_inexact)


def _coupled_again(job: Job, program: Program) -> Coupling:
    """The groups of a network that was cut."""
    return couple(program.afresh(), job.request.allow_inexact)


def _screen(job: Job, coupling: Coupling) -> Screening:
    ranking: Criterion = build_from("criteria", job.criterion)
    return screen(
        coupling,
        job.splits.calibration if job.splits else None,
        ranking,
        name=job.criterion,
        classes=job.splits.classes if job.splits else 0,
        class_names=job.request.labels,
        selection=job.choosing,
        seed=job.request.seed,
        also=("gram", "moments"),
        team=job.run.team,
        progress=job.progress,
    )


def _note(job: Job, screening: Screening) -> str:
    """Where classes were to be compared and could not be."""
    if not job.compares_classes:
        return ""
    if screening.incomparable is not None:
        return ranked_without_f(screening.incomparable, job.criterion)
    if screening.choice is not None and screening.choice.incomparable is not None:
        return (
            f"{screening.choice.incomparable} that were to say what weight F gets, so it got none; "
            "--criterion 'screening?alpha=0.3' gives it one"
        )
    return ""


def _plan(
    job: Job,
    turn: Round,
    ranked: Arrangement,
    screening: Screening,
    before: Made | None,
    search: Search | None,
) -> Plan:
    """The round's plan, in terms of the original."""
    budget, size, seed = job.request.budget, job.size, job.request.seed
    tighter = {search.narrows: search.best.asked} if search and search.best else {}
    if turn.rounds > 1:
        budget = budget.part(job.before, turn.share)
        size = size and size.part(turn.share)
    if before is not None:
        screening = _going_on(job, ranked.coupling, screening, before.plan)
    own = plan(
        ranked.coupling,
        screening,
        budget,
        multiple=job.target.channels.multiple,
        seed=seed,
        size=size,
        tighter=tighter,
    )
    cuts = composed(before.plan.cuts if before is not None else (), ranked.named(own.cuts))
    whole = plan_of(job.coupling, cuts, screening.criterion, job.request.budget.words(), seed=seed)
    # Units that were counted otherwise in the narrow network would show here.
    assert (whole.after.macs, whole.after.parameters) == (own.after.macs, own.after.parameters)
    return whole


def _going_on(job: Job, coupling: Coupling, screening: Screening, before: Plan) -> Screening:
    """Leave out groups that are not what an earlier round left of a group of the original's."""
    left = {group.id: group.units for group in job.coupling.free() if group.id not in before.locked}
    left |= {cut.group: len(cut.kept) for cut in before.cuts}
    same = {group.id for group in coupling.free() if left.get(group.id) == group.units}
    groups = {name: one for name, one in screening.groups.items() if name in same}
    return screening.model_copy(update={"groups": groups})


def _shrink(job: Job, proposal: Plan) -> Cut:
    job.progress.start("shrink and prove")
    result = Cut(*shrink(job.coupling, proposal))
    job.progress.finish()
    return result


def _compensate(job: Job, made: Made, splits: Splits) -> Refitted:
    assert job.choosing is not None
    return Refitted(
        *compensate(
            job.coupling,
            made.program,
            made.plan,
            splits.calibration,
            job.choosing,
            seed=job.request.seed,
            progress=job.progress,
        )
    )


def _finetune(job: Job, turn: Round, refitted: Program, epochs: int, splits: Splits) -> Finetuned:
    name = f"checkpoint-{turn.early}.pt" if turn.early else "checkpoint.pt"
    return Finetuned(
        *finetune(
            job.original,
            refitted,
            splits.training,
            splits.selection,
            job.course(epochs),
            fresh=splits.test,
            checkpoint=job.run.folder / hidden(name),
            team=job.run.team,
            progress=job.progress,
        )
    )

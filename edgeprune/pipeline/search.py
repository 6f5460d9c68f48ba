"""The search for the smallest network whose drop is within a bound: plan, shrink, refit, judge, again.

Every trial is a stage of the run, so that an interrupted search goes on with the next one. It is free of
training; the proof is made of the plan that is carried out in the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.drop import Answers, Drop, bound_words, drop_of
from edgeprune.core.errors import DataError, GateError
from edgeprune.core.journal import Documents, hidden
from edgeprune.core.paired import drop_interval, images_to_show
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Silent
from edgeprune.core.request import Budget
from edgeprune.core.samples import Split
from edgeprune.core.screening import Screening
from edgeprune.core.search import Narrowed, Search, Trial, next_bound
from edgeprune.core.units import format_count, format_points
from edgeprune.graph.cost import weight_bytes
from edgeprune.pipeline.job import Job
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import bounds, plan, reach
from edgeprune.stages.shrink import replay
from edgeprune.stages.verify import judge


def require_enough(budget: Budget, selection: Split) -> None:
    """Refuse a search that no result could end well.

    Raises
    ------
    DataError
        The selection images are too few to show the drop within its bound even if nothing changed.
    """
    if budget.max_drop is None:
        return
    needed = images_to_show(budget.max_drop, budget.certainty)
    if len(selection) < needed:
        raise DataError(
            f"{len(selection)} selection images cannot show a drop within {format_points(budget.max_drop)} "
            f"at {100 * budget.certainty:g} %, even if not one answer changes",
            hint=f"it takes {needed}, and more where answers change: --selection-images {2 * needed}, "
            "or a looser --max-drop",
        )


def searched(job: Job, screening: Screening) -> Search:
    """All trials up to the smallest cut that holds.

    Raises
    ------
    GateError
        None does; the message names the one that lost least.
    BudgetError
        The other bounds of the budget cannot be reached.
    """
    budget, narrows = job.request.budget, _narrows(job.request.budget)
    multiple = job.target.channels.multiple
    whole, least = reach(job.coupling, screening, multiple=multiple, size=job.size)
    first = bounds(budget, whole["macs"], job.size).get(narrows)
    attempts, trials = _Attempts(job, screening, narrows), list[Trial]()
    while True:
        asked = next_bound(trials, whole=whole[narrows], least=least[narrows], first=first)
        if asked is None:
            break
        number = len(trials) + 1
        work = partial(attempts.trial, number, asked, tuple(trials))
        trials.append(
            job.run.stage(f"trial {number}", work, Documents(Trial, hidden(f"trial-{number}.json")))
        )
    found = Search(
        at_most=attempts.at_most,
        confidence=budget.certainty,
        answers=attempts.answers,
        images=len(attempts.images),
        narrows=narrows,
        trials=tuple({one.cost: one for one in trials}.values()),
    )
    if found.best is None:
        raise _nothing_held(found)
    return found


def _narrows(budget: Budget) -> Narrowed:
    """What becomes smallest: MACs, unless the budget bounds something else and not them."""
    if budget.macs is not None or budget.speedup is not None:
        return "macs"
    if budget.parameters is not None:
        return "parameters"
    return "bytes" if budget.size is not None else "macs"


class _Attempts:
    """Carries out trials of one search; the original answers once for all of them."""

    def __init__(self, job: Job, screening: Screening, narrows: Narrowed) -> None:
        assert job.splits is not None, "ask() refuses a bound on the drop without data"
        assert job.request.budget.max_drop is not None
        self._job, self._screening, self._narrows = job, screening, narrows
        self._splits = job.splits
        self.images = job.splits.selection
        self.at_most = job.request.budget.max_drop
        self.answers: Answers = "same" if self.images.labels is None else "right"

    def trial(self, number: int, asked: int, before: Sequence[Trial]) -> Trial:
        """Plan with the bound, cut, refit and judge; a plan that was tried before is not tried again."""
        started = time.perf_counter()
        self._job.progress.start(f"trial {number}")
        proposal = self._plan(asked)
        again = next((one for one in before if one.cost == proposal.after), None)
        drop = self._drop(proposal) if again is None else again.drop
        spent = time.perf_counter() - started + (again.seconds if again is not None else 0.0)
        self._job.progress.finish()
        certainty = drop.confidence(at_most=self.at_most)
        return Trial(
            asked=asked,
            reached=self._reached(proposal),
            cost=proposal.after,
            drop=drop,
            certainty=round(certainty, 6),
            held=certainty >= self._job.request.budget.certainty,
            seconds=round(spent, 3),
        )

    def _plan(self, asked: int) -> Plan:
        return plan(
            self._job.coupling,
            self._screening,
            self._job.request.budget,
            multiple=self._job.target.channels.multiple,
            seed=self._job.request.seed,
            size=self._job.size,
            tighter={self._narrows: asked},
        )

    def _reached(self, proposal: Plan) -> int:
        """What the plan leaves of what is narrowed."""
        if self._narrows == "bytes":
            assert self._job.size is not None
            return weight_bytes(self._job.coupling, proposal.cuts, self._job.size.precision)
        return proposal.after.macs if self._narrows == "macs" else proposal.after.parameters

    def _drop(self, proposal: Plan) -> Drop:
        job = self._job
        assert job.choosing is not None
        network, _ = compensate(
            job.coupling,
            replay(job.coupling, proposal),
            proposal,
            self._splits.calibration,
            job.choosing,
            seed=job.request.seed,
        )
        return drop_of(self._original, judge(network, self.images, Silent(), "")[1], self.images.labels)

    @cached_property
    def _original(self) -> NDArray[np.float32]:
        return judge(self._job.original, self.images, Silent(), "")[1]


def _nothing_held(found: Search) -> GateError:
    """No cut is known to keep to the bound: name the one that lost least, and what would hold for it."""
    best = min(found.trials, key=lambda one: one.drop.points)
    drop, level = best.drop, 2 * found.confidence - 1
    would_hold = drop_interval(drop.lost, drop.gained, drop.images, level=level)[1]
    bound, what = bound_words(found.at_most, found.answers), bound_words(round(drop.points, 2), found.answers)
    return GateError(
        f"no cut is within {bound} at {100 * found.confidence:g} %: of {len(found.trials)} tried, the one to "
        f"{format_count(best.cost.macs)} MACs lost least, {what} on {found.images} selection images",
        hint=f"--max-drop {math.ceil(100 * would_hold) / 100:g} holds for it; more images tell more "
        "(--selection-images), looser other bounds lose less",
    )

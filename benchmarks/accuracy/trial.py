"""A trial: one way to cut a network, carried out without training and judged on test images."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.accuracy.subjects import Subject
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.progress import Silent
from edgeprune.core.registry import build_from
from edgeprune.core.report import Quality
from edgeprune.core.request import Budget
from edgeprune.core.samples import Splits
from edgeprune.core.screening import Screening
from edgeprune.graph.capture import Program
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink
from edgeprune.stages.verify import judge


class NoSuchSwitchError(Exception):
    """None of the places that a trial wants to change exists any longer."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A private name of a stage, given another value for one trial; the first of the places that exists."""

    places: tuple[str, ...]
    """Each as `package.module:name` or `package.module:Class.name`."""
    value: Callable[[Any], Any]
    """The new value, made from the present one."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to do; everything that is not said is as the command line does it."""

    name: str
    criterion: str
    uniform: bool = False
    """The same share of every group, in place of the plan."""
    refit: bool = True
    judge_cut: bool = False
    """Whether the network is judged before the refit, too."""
    switches: tuple[Switch, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial."""

    name: str
    macs: int
    parameters: int
    cut: Quality | None
    quality: Quality
    divergence: float | None
    seconds: float
    """From capture to refit, judging left out."""
    extra: Mapping[str, Any] = field(default_factory=dict)


def carried_out(
    trial: Trial, subject: Subject, splits: Splits, speedup: float, multiple: int, *, seed: int = 0
) -> Outcome:
    """Screen, plan, shrink and refit as the trial says, then count right answers.

    Raises
    ------
    NoSuchSwitchError
        A switch names nothing.
    """
    with _switched(trial.switches):
        started = time.perf_counter()
        coupling = couple(subject.program())
        ranks = _screened(coupling, splits, trial.criterion, seed)
        budget = Budget(speedup=speedup)
        proposal = (
            uniform_plan(coupling, ranks, budget, multiple)
            if trial.uniform
            else plan(coupling, ranks, budget, multiple=multiple, seed=seed)
        )
        program, done, _ = shrink(coupling, proposal)
        seconds = time.perf_counter() - started
        cut = judged(program, splits) if trial.judge_cut or not trial.refit else None
        divergence = None
        if trial.refit:
            started = time.perf_counter()
            program, found = compensate(
                coupling, program, done, splits.calibration, splits.selection, seed=seed
            )
            seconds, divergence = seconds + time.perf_counter() - started, found.divergence_after
    quality = cut if not trial.refit and cut is not None else judged(program, splits)
    after = count(couple(program))
    return Outcome(trial.name, after.macs, after.parameters, cut, quality, divergence, seconds)


def uniform_plan(coupling: Coupling, ranks: Screening, budget: Budget, multiple: int) -> Plan:
    """The same share of every group that one layer makes, the smallest that meets the budget's MACs."""
    assert budget.speedup is not None
    before = count(coupling)
    groups = [
        g for g in coupling.free("channels") if g.id in ranks.groups and len(g.of_role("producer")) == 1
    ]

    def cuts_of(share: float) -> tuple[Cut, ...]:
        cuts = []
        for group in groups:
            kept = max(1, round(group.units * (1 - share) / multiple)) * multiple
            if kept < group.units:
                order = ranks.groups[group.id].order[group.units - kept :]
                cuts.append(Cut(group=group.id, units=group.units, kept=tuple(sorted(order))))
        return tuple(cuts)

    shares = np.linspace(0, 1, 200)
    for share in shares:
        cuts = cuts_of(float(share))
        after = count(coupling, coupling.narrowed(cuts))
        if after.macs <= before.macs / budget.speedup:
            return Plan(
                graph=coupling.program.fingerprint(),
                input=coupling.program.input_size,
                criterion=ranks.criterion,
                budget=budget.words(),
                seed=0,
                before=before,
                after=after,
                cuts=cuts,
            )
    raise SystemExit(f"error: the same share of every group does not reach {budget.words()}")


def _screened(coupling: Coupling, splits: Splits, criterion: str, seed: int) -> Screening:
    return screen(
        coupling,
        splits.calibration,
        build_from("criteria", criterion),
        name=criterion,
        classes=splits.classes,
        selection=splits.selection,
        seed=seed,
        also=("gram", "moments"),
    )


def judged(program: Program, splits: Splits) -> Quality:
    """Right answers to the test images."""
    found, _ = judge(program, splits.test, Silent(), "network")
    assert found is not None
    return found


@contextmanager
def _switched(switches: tuple[Switch, ...]) -> Iterator[None]:
    held = []
    try:
        for switch in switches:
            owner, name = _place(switch)
            before = getattr(owner, name)
            held.append((owner, name, before))
            setattr(owner, name, switch.value(before))
        yield
    finally:
        for owner, name, before in reversed(held):
            setattr(owner, name, before)


def _place(switch: Switch) -> tuple[Any, str]:
    for place in switch.places:
        module, _, names = place.partition(":")
        *path, name = names.split(".")
        try:
            owner: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for part in path:
            owner = getattr(owner, part, None)
        if hasattr(owner, name):
            return owner, name
    raise NoSuchSwitchError(", ".join(switch.places))

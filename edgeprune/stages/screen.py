"""Screen: one pass over the calibration images, then a rank and a harm curve for every group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

from edgeprune.core.class_statistics import class_statistics, rounded
from edgeprune.core.errors import PluginError, RequestError
from edgeprune.core.group import Group
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion, Need, OpenCriterion
from edgeprune.core.replication import incomparable, require_replicates
from edgeprune.core.sample_size import POWER
from edgeprune.core.samples import Split
from edgeprune.core.screening import Candidate, Choice, GroupScreening, Options, Screening
from edgeprune.graph.choice import harms_of, least
from edgeprune.graph.couple import Coupling
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.graph.measured_harm import MeasuredHarm, affordable_images, branch_harm, measured_harms
from edgeprune.graph.memory import images_per_batch
from edgeprune.graph.processes import ALONE, Processes

_BATCH = 100


def screen(
    coupling: Coupling,
    calibration: Split | None,
    criterion: Criterion,
    *,
    name: str,
    classes: int = 0,
    class_names: tuple[str, ...] = (),
    seed: int = 0,
    selection: Split | None = None,
    also: Iterable[Need] = ("gram",),
    power: float = POWER,
    team: Processes = ALONE,
    progress: Progress | None = None,
) -> Screening:
    """Rank the units of every free group.

    Parameters
    ----------
    calibration : Split, optional
        Without labels, or without images, nothing is said about classes.
    classes : int
        Number of classes; 0 for as many as the labels show.
    class_names : of str
        What the classes are called, in output order.
    selection : Split, optional
        Other images, for an option that the criterion leaves to the run: they rank, `calibration` judges.
    also : of Need
        Evidence to gather beside what the criterion needs: `gram` for harm curves that are refit errors,
        `moments` for the statistics per class. Second moments take several times as long as the rest.
    power : float
        With which the required images of a group are to find its effect, 0 to 1.
    team : Processes
        Batches and groups are shared out between them; all get the same result.

    Raises
    ------
    RequestError
        The criterion needs images or labels, or classes with more than one image, and there are none.
    PluginError
        The criterion's scores are not one finite number per unit.
    ModelError
        A layer answers with NaN or infinity.
    """
    progress = progress or Silent()
    _require_data(criterion, calibration, name)
    needs = criterion.needs.union(also)
    batches = 0 if calibration is None else -(-len(calibration) // images_per_batch(coupling))
    groups = _measurable(coupling, calibration)
    labels = [one.labels for one in (calibration, selection) if one is not None and one.labels is not None]
    classes = max([classes, *(int(one.max()) + 1 for one in labels)]) if labels else 0
    progress.start("screen", batches + len(groups))
    evidence = GroupEvidence(coupling, groups, classes, seed, needs)
    _gather(evidence, calibration, team, progress)
    choice = None
    if isinstance(criterion, OpenCriterion):
        criterion, choice = _chosen(criterion, evidence, selection, team)
    found = {}
    for group in groups[team.rank :: team.count]:
        found[group.id] = _screen_group(group, criterion, evidence, name, power)
        progress.advance(team.count)
    everything = {key: one for part in team.gathered(found) for key, one in part.items()}
    everything = {group.id: everything[group.id] for group in groups}
    progress.finish()
    if calibration is not None and "gram" in needs:
        everything = _with_measured_harm(everything, evidence, calibration, team, progress)
    return Screening(
        criterion=name,
        options=_options(criterion),
        choice=choice,
        images=0 if calibration is None else len(calibration),
        classes=classes,
        labels=class_names,
        incomparable=incomparable(calibration) if "moments" in needs else None,
        power=power,
        groups=everything,
    )


def _require_data(criterion: Criterion, calibration: Split | None, name: str) -> None:
    labelled = bool(criterion.needs & {"moments", "outcomes"})
    if calibration is None and criterion.needs:
        raise RequestError(
            f"criterion '{name}' needs {'labelled ' if labelled else ''}images",
            hint="give --data, or choose a data-free criterion: "
            "l2, l1, group-l2, bn-scale, fpgm, lamp, random",
        )
    if calibration is not None and calibration.labels is None and labelled:
        raise RequestError(
            f"criterion '{name}' compares classes, but the images have no labels",
            hint="choose one that needs none: refit, taylor, wanda, l2",
        )
    require_replicates(criterion, calibration, name, others="refit, taylor, wanda, l2")


def _gather(evidence: GroupEvidence, images: Split | None, team: Processes, progress: Progress) -> None:
    """Every process looks at its share of the batches, then all hold what all have seen."""
    if images is None:
        return
    indices, size = np.arange(len(images)), images_per_batch(evidence.coupling)
    batches = [*enumerate(np.split(indices, indices[size::size]))]
    for place, batch in batches[team.rank :: team.count]:
        inputs, labels = next(images.at(batch).batches(size))
        evidence.add(torch.from_numpy(inputs), labels, place)
        progress.advance(team.count)
    if team.count > 1:
        evidence.merge(team.gathered(evidence.shard()))


def _chosen(
    criterion: OpenCriterion, evidence: GroupEvidence, selection: Split | None, team: Processes
) -> tuple[Criterion, Choice | None]:
    """The first candidate, or one that loses less; the criterion as it is where nothing can be compared."""
    candidates = criterion.candidates()
    rankings = evidence
    if candidates and selection is not None:
        rankings = GroupEvidence(
            evidence.coupling, evidence.groups, evidence.classes, evidence.seed, criterion.needs
        )
        _gather(rankings, selection, team, Silent())
    harms = harms_of(candidates, evidence.groups, rankings, evidence) if candidates else None
    if harms is None:
        return criterion, None
    best, p_values = least(harms)
    compared = [
        Candidate(
            options=_options(one),
            harm=float(f"{harm:.9g}"),
            p_value=None if p_value is None else float(f"{p_value:.3g}"),
        )
        for one, harm, p_value in zip(candidates, harms.mean(1), p_values, strict=True)
    ]
    return candidates[best], Choice(
        images=0 if selection is None else len(selection),
        candidates=tuple(compared),
        incomparable=incomparable(selection) if "moments" in criterion.needs else None,
    )


def _options(criterion: Criterion) -> Options:
    """The options of a plug-in; what no document can hold is written as text."""
    assert dataclasses.is_dataclass(criterion), "a plug-in is a dataclass"
    values = {one.name: getattr(criterion, one.name) for one in dataclasses.fields(criterion) if one.init}
    return {
        name: value if isinstance(value, bool | int | float | str | None) else str(value)
        for name, value in values.items()
    }


def _measurable(coupling: Coupling, calibration: Split | None) -> list[Group]:
    """Groups whose units can be ranked by themselves; branches are only told by what the network answers.

    Dimensions of query and key are read by each other only: without images nothing tells their harm.
    """
    return [
        group
        for group in coupling.free("channels", "groups", "heads", "width")
        if calibration is not None or group.kind == "channels" or group.of_role("consumer")
    ]


def _with_measured_harm(
    found: dict[str, GroupScreening],
    evidence: GroupEvidence,
    calibration: Split,
    team: Processes,
    progress: Progress,
) -> dict[str, GroupScreening]:
    """Harm curves on one scale, that of the outputs, and residual branches beside the other groups."""
    branches = evidence.coupling.free("blocks")
    images = calibration.take(affordable_images(evidence.coupling, [*evidence.groups, *branches]))
    inputs = torch.from_numpy(np.concatenate(list(images.inputs(_BATCH))))
    progress.start("sensitivity", 4 * len(found) + sum(group.units + 4 for group in branches))
    ranked = {name: (one.order, np.asarray(one.harm)) for name, one in found.items()}
    done = partial(progress.advance, team.count)
    harms = measured_harms(evidence, ranked, inputs, team, done)
    measured = {name: one.model_copy(update=_harm_fields(harms[name])) for name, one in found.items()}
    for group in branches:
        ranking = branch_harm(evidence, group, inputs, team, done)
        if ranking is not None:
            order, harm = ranking
            scores = np.empty(group.units)
            scores[order] = harm.curve
            measured[group.id] = GroupScreening(
                scores=rounded(scores), order=tuple(order), magnitude=(), **_harm_fields(harm)
            )
    progress.finish()
    return measured


def _harm_fields(harm: MeasuredHarm) -> dict[str, Any]:
    return {"harm": rounded(harm.curve), "measured": harm.points}


def _screen_group(
    group: Group, criterion: Criterion, evidence: GroupEvidence, name: str, power: float
) -> GroupScreening:
    scores = np.asarray(criterion.score(group, evidence), dtype=np.float64)
    if scores.shape != (group.units,) or not np.isfinite(scores).all():
        raise PluginError(
            f"criterion '{name}' does not give one finite score for each of {group.units} units "
            f"of group '{group.id}'",
            hint="NaN or infinite weights or activations do that, too: check the model with one image",
        )
    order = np.argsort(scores, kind="stable")
    f_statistic, p_value = evidence.f_statistic(group), evidence.p_value(group)
    ranked = GroupScreening(
        scores=rounded(scores),
        order=tuple(order.tolist()),
        harm=rounded(evidence.harm(group, scores, order.tolist())),
        magnitude=rounded(evidence.group_norm(group)),
    )
    if f_statistic is None or p_value is None:
        return ranked
    moments = evidence.moments(group)
    found = class_statistics(f_statistic, p_value, moments, order, seed=evidence.seed, power=power)
    return ranked.model_copy(update=found)

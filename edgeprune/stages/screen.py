"""Screen: one pass over the calibration images, then a rank and a harm curve for every group."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edgeprune.core.errors import RequestError
from edgeprune.core.group import Group
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion
from edgeprune.core.samples import Split
from edgeprune.core.screening import GroupScreening, Screening
from edgeprune.graph.couple import Coupling
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.graph.processes import ALONE, Processes

_BATCH = 100
_FDR = 0.05


def screen(
    coupling: Coupling,
    calibration: Split | None,
    criterion: Criterion,
    *,
    name: str,
    classes: int = 0,
    seed: int = 0,
    team: Processes = ALONE,
    progress: Progress | None = None,
) -> Screening:
    """Rank the units of every free group.

    Parameters
    ----------
    classes : int
        Number of classes; 0 for as many as the labels show.
    team : Processes
        Batches and groups are shared out between them; all get the same result.

    Raises
    ------
    RequestError
        The criterion needs data and none was given.
    """
    progress = progress or Silent()
    if calibration is None and criterion.needs_data:
        raise RequestError(
            f"criterion '{name}' needs labelled images",
            hint="give --data, or choose a data-free criterion: l2, l1, random",
        )
    batches = 0 if calibration is None else -(-len(calibration) // _BATCH)
    groups = _measurable(coupling)
    if calibration is not None and calibration.labels is not None:
        classes = classes or int(calibration.labels.max()) + 1
    progress.start("screen", batches + len(groups))
    evidence = GroupEvidence(coupling, groups, classes, seed)
    if calibration is not None:
        _gather(evidence, calibration, team, progress)
    found = {}
    for group in groups[team.rank :: team.count]:
        found[group.id] = _screen_group(group, criterion, evidence)
        progress.advance(team.count)
    everything = {key: one for part in team.gathered(found) for key, one in part.items()}
    progress.finish()
    return Screening(
        criterion=name,
        images=0 if calibration is None else len(calibration),
        groups={group.id: everything[group.id] for group in groups},
    )


def _gather(evidence: GroupEvidence, calibration: Split, team: Processes, progress: Progress) -> None:
    """Every process looks at its share of the batches, then all hold what all have seen."""
    images = np.arange(len(calibration))
    batches = [*enumerate(np.split(images, images[_BATCH::_BATCH]))]
    for place, batch in batches[team.rank :: team.count]:
        inputs, labels = next(calibration.at(batch).batches(_BATCH))
        evidence.add(torch.from_numpy(inputs), labels, place)
        progress.advance(team.count)
    if team.count > 1:
        evidence.merge(team.gathered(evidence.shard()))


def _measurable(coupling: Coupling) -> list[Group]:
    """Groups whose harm can be told: a layer reads them, or nothing but their own weights is asked for.

    Dimensions of query and key are read by each other only; whole branches are compared by what the
    network answers, which is not done here.
    """
    return [
        group
        for group in coupling.free("channels", "groups", "heads", "width")
        if group.kind == "channels" or group.of_role("consumer")
    ]


def _screen_group(group: Group, criterion: Criterion, evidence: GroupEvidence) -> GroupScreening:
    scores = np.asarray(criterion.score(group, evidence), dtype=np.float64)
    order = np.argsort(scores, kind="stable")
    f_statistic, p_value = evidence.f_statistic(group), evidence.p_value(group)
    return GroupScreening(
        scores=_rounded(scores),
        order=tuple(order.tolist()),
        harm=_rounded(evidence.harm(group, scores, order.tolist())),
        magnitude=_rounded(evidence.magnitude(group, 2)),
        f_statistic=None if f_statistic is None else _rounded(f_statistic),
        p_value=None if p_value is None else _rounded(p_value),
        significant=None if p_value is None else _significant(p_value),
    )


def _significant(p_value: NDArray[np.float64]) -> int:
    from statsmodels.stats.multitest import multipletests

    return int(multipletests(p_value, alpha=_FDR, method="fdr_bh")[0].sum())


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Nine significant digits: enough to rank by, and readable in the document."""
    return tuple(float(f"{value:.9g}") for value in np.nan_to_num(values, posinf=1e12).tolist())

"""Screen: one pass over the calibration images, then a rank and a harm curve for every group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgeprune.core.errors import RequestError
from edgeprune.core.group import Group
from edgeprune.core.moments import ClassMoments
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion
from edgeprune.core.sample_size import required_images
from edgeprune.core.samples import Split
from edgeprune.core.screening import Agreement, GroupScreening, RankStability, Screening, ServedClasses
from edgeprune.core.stability import (
    f_of_redrawn_classes,
    f_of_redrawn_images,
    rank_correlations,
    share_in_lowest_half,
)
from edgeprune.graph.couple import Coupling
from edgeprune.graph.evidence import LARGEST, GroupEvidence

_BATCH = 100
_FDR = 0.05


def screen(
    coupling: Coupling,
    calibration: Split | None,
    criterion: Criterion,
    *,
    name: str,
    classes: int = 0,
    class_names: tuple[str, ...] = (),
    second_moments: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Screening:
    """Rank the units of every free group.

    Parameters
    ----------
    calibration : Split, optional
        Without labels, or without images, nothing is said about classes, and criteria go by the rest.
    classes : int
        Number of classes; 0 for as many as the labels show.
    class_names : of str
        What the classes are called, in output order.
    second_moments : bool
        Whether to gather what harm and elimination are told by. Without, it takes about as long as
        running the network does.

    Raises
    ------
    RequestError
        The criterion needs data and none was given.
    ModelError
        A layer answers with NaN or infinity.
    """
    progress = progress or Silent()
    if calibration is None and criterion.needs_data:
        raise RequestError(
            f"criterion '{name}' needs labelled images",
            hint="give --data, or choose a data-free criterion: l2, l1, random",
        )
    batches = 0 if calibration is None else -(-len(calibration) // _BATCH)
    groups = _measurable(coupling)
    if calibration is None or calibration.labels is None:
        classes = 0
    else:
        classes = classes or int(calibration.labels.max()) + 1
    progress.start("screen", batches + len(groups))
    evidence = GroupEvidence(coupling, groups, classes, seed, second_moments)
    if calibration is not None:
        for inputs, labels in calibration.batches(_BATCH):
            evidence.add(torch.from_numpy(inputs), labels)
            progress.advance()
    found = {}
    for group in groups:
        found[group.id] = _screen_group(group, criterion, evidence, seed)
        progress.advance()
    progress.finish()
    return Screening(
        criterion=name,
        images=0 if calibration is None else len(calibration),
        classes=classes,
        labels=class_names,
        groups=found,
    )


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


def _screen_group(group: Group, criterion: Criterion, evidence: GroupEvidence, seed: int) -> GroupScreening:
    scores = np.asarray(criterion.score(group, evidence), dtype=np.float64)
    order = np.argsort(scores, kind="stable")
    f_statistic, p_value = evidence.f_statistic(group), evidence.p_value(group)
    ranked = GroupScreening(
        scores=_rounded(scores),
        order=tuple(order.tolist()),
        harm=_rounded(evidence.harm(group, scores, order.tolist())),
        magnitude=_rounded(evidence.magnitude(group, 2)),
    )
    if f_statistic is None or p_value is None:
        return ranked
    moments = evidence.moments(group)
    omega_squared = _mean([one.omega_squared() for one in moments])
    classes = int((moments[0].count > 0).sum())
    return ranked.model_copy(
        update={
            "f_statistic": _rounded(f_statistic),
            "p_value": _rounded(p_value),
            "significant": _significant(p_value),
            "welch_f": _rounded(_mean([one.welch()[0] for one in moments])),
            "omega_squared": _rounded(omega_squared),
            "required_images": required_images(float(np.median(omega_squared)), classes),
            "stability": _stability(f_statistic, moments, seed),
            "classes": _served(_mean([one.contrasts() for one in moments]), order[: len(order) // 2]),
        }
    )


def _significant(p_value: NDArray[np.float64]) -> int:
    from statsmodels.stats.multitest import multipletests

    return int(multipletests(p_value, alpha=_FDR, method="fdr_bh")[0].sum())


def _stability(
    f_statistic: NDArray[np.float64], moments: Sequence[ClassMoments], seed: int
) -> RankStability | None:
    """How the ranking holds when images and classes are redrawn, in all places of the group alike."""
    images = _mean([f_of_redrawn_images(one, seed=seed) for one in moments])
    by_images = rank_correlations(f_statistic, images)
    if by_images is None:
        return None
    redrawn = [f_of_redrawn_classes(one, seed=seed) for one in moments]
    told = [one for one in redrawn if one is not None]
    by_classes = rank_correlations(f_statistic, _mean(told)) if told else None
    return RankStability(
        images=_agreement(by_images),
        classes=None if by_classes is None else _agreement(by_classes),
        lowest_half=_rounded(share_in_lowest_half(images)),
    )


def _agreement(correlations: NDArray[np.float64]) -> Agreement:
    low, high = np.quantile(correlations, [0.025, 0.975])
    return Agreement(
        mean=round(float(correlations.mean()), 4), interval=(round(float(low), 4), round(float(high), 4))
    )


def _served(contrasts: NDArray[np.float64], lowest: NDArray[np.int64]) -> ServedClasses:
    """From contrasts of shape (classes, units), and the units that would go first."""
    best = contrasts.argmax(0)
    squares = np.square(contrasts)
    whole = squares.sum(1)
    lost = squares[:, lowest].sum(1) / np.where(whole > 0, whole, 1.0)
    return ServedClasses(
        serves=tuple(best.tolist()),
        contrast=_rounded(contrasts[best, np.arange(contrasts.shape[1])]),
        lost=_rounded(lost),
    )


def _mean(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Over the places in which a group is read; infinity counts as a very large number."""
    finite = [np.nan_to_num(each, posinf=LARGEST, neginf=-LARGEST) for each in values]
    return np.asarray(np.mean(finite, axis=0), dtype=np.float64)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Nine significant digits: enough to rank by, and readable in the document."""
    finite = np.nan_to_num(values, posinf=LARGEST, neginf=-LARGEST)
    return tuple(float(f"{value:.9g}") for value in finite.tolist())

"""Thin: decide which single connections stay, by a criterion's score for each of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgeprune.core.errors import BudgetError, PluginError, RequestError
from edgeprune.core.moments import LARGEST
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import ConnectionCriterion, Criterion, OpenCriterion
from edgeprune.core.registry import find, names
from edgeprune.core.replication import require_replicates
from edgeprune.core.samples import Split
from edgeprune.core.screening import Candidate, Choice, Options
from edgeprune.core.sparsity import Connections, Mask, Sparsity
from edgeprune.core.thinning import Pattern, Thinning
from edgeprune.graph.answer import answers
from edgeprune.graph.connection_evidence import ConnectionEvidence
from edgeprune.graph.connections import Layer, disconnected, layers
from edgeprune.graph.couple import Coupling
from edgeprune.graph.dead import without_dead
from edgeprune.graph.finite import require_finite
from edgeprune.graph.memory import images_per_batch

_REFILLS = 8
"""How often connections are added in the place of those that turned out dead."""

Floats = NDArray[np.float64]
Masks = dict[str, Mask]


def thin(
    coupling: Coupling,
    calibration: Split | None,
    criterion: Criterion,
    wanted: Thinning,
    *,
    name: str,
    done: float = 1.0,
    selection: Split | None = None,
    trained: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sparsity:
    """Rank the connections of a program and say which of them stay; a weight that is zero never does.

    Parameters
    ----------
    done : float
        Which part of the rounds this one completes: of zeros there are `1 - (1 - done)^3` of what is
        wanted in the end (Zhu & Gupta 2017), many while there are many to choose from.
    selection : Split, optional
        Other images, for an option that the criterion leaves to the run: of its candidates the one is
        taken whose zeros change the answers to these images least.
    trained : bool
        Training follows, so that biases can take over what is constant.

    Raises
    ------
    RequestError
        The criterion cannot rank connections, or needs images or labels that there are not, or classes
        with more than one image.
    BudgetError
        There are no connections, the pattern fits none, or fewer would stay than there are layers.
    PluginError
        The criterion's scores are not one finite number per connection.
    ModelError
        A layer answers with NaN or infinity.
    """
    progress = progress or Silent()
    ranking = _able(criterion, calibration, name)
    every = layers(coupling.program)
    free, whole = _fitting(every, wanted.pattern)
    keep = _allowance(every, free, wanted, done)
    size = images_per_batch(coupling)
    progress.start("thin", 0 if calibration is None else -(-len(calibration) // size))
    labels = None if calibration is None else calibration.labels
    classes = 0 if labels is None else int(labels.max()) + 1
    evidence = ConnectionEvidence(coupling.program, every, classes, seed, ranking.needs)
    for inputs, known in calibration.batches(size) if calibration is not None else ():
        evidence.add(torch.from_numpy(inputs), known)
        progress.advance()

    def masks_of(one: ConnectionCriterion) -> Masks:
        return _masks(coupling, free, _scores(coupling, free, one, evidence, name), wanted, keep, trained)

    ranking, choice = _chosen(ranking, coupling, masks_of, selection)
    masks = masks_of(ranking)
    progress.finish()
    shapes = {layer.weight: layer.shape for layer in every}
    return Sparsity(
        graph=coupling.program.fingerprint(),
        criterion=name,
        options=_options(ranking),
        choice=choice,
        budget=wanted.words(),
        seed=seed,
        images=0 if calibration is None else len(calibration),
        connections={
            weight: Connections.of(masks.get(weight, np.ones(shape, dtype=bool)))
            for weight, shape in shapes.items()
        },
        whole=whole,
    )


def _able(criterion: Criterion, calibration: Split | None, name: str) -> ConnectionCriterion:
    """The criterion, which must rank connections by evidence that there is."""
    if not isinstance(criterion, ConnectionCriterion):
        able = [one for one in names("criteria") if hasattr(find("criteria", one), "score_connections")]
        raise RequestError(
            f"criterion '{name}' ranks whole units, not connections", hint=f"choose one of: {', '.join(able)}"
        )
    if calibration is None and criterion.needs:
        raise RequestError(
            f"criterion '{name}' needs images",
            hint="give --data, or choose one that needs none: l2, lamp, random",
        )
    if calibration is not None and calibration.labels is None and "moments" in criterion.needs:
        raise RequestError(
            f"criterion '{name}' compares classes, but the images have no labels",
            hint="choose one that needs none: wanda, l2, lamp",
        )
    require_replicates(criterion, calibration, name, others="wanda, l2, lamp")
    return criterion


def _fitting(every: Sequence[Layer], pattern: Pattern | None) -> tuple[list[Layer], dict[str, str]]:
    """The layers whose connections may go, and why others stay whole."""
    if not every:
        raise BudgetError(
            "the network has no linear layer or convolution with weights of its own, so no connection can go",
            hint="store weights as plain parameters, or cut channels",
        )
    if pattern is None:
        return list(every), {}
    whole = {
        layer.weight: f"{layer.shape[1]} inputs, no multiple of {pattern.of}"
        for layer in every
        if layer.shape[1] % pattern.of
    }
    free = [layer for layer in every if layer.weight not in whole]
    if not free:
        (name, why), more = next(iter(whole.items())), len(whole) - 1
        raise BudgetError(
            f"pattern {pattern} fits no layer: {name} has {why}" + (f" (and {more} more)" if more else ""),
            hint="choose a pattern that divides the layers' inputs, or --sparsity",
        )
    return free, whole


def _allowance(
    every: Sequence[Layer], free: Sequence[Layer], wanted: Thinning, done: float
) -> dict[str, int] | int:
    """How many connections may stay after this round: in all, or in each layer."""
    if wanted.times is None:
        return 0
    zeros = (1 - 1 / wanted.times) * (1 - (1 - done) ** 3)
    sizes = {layer.weight: math.prod(layer.shape) for layer in free}
    # A whole number of connections that is met exactly by a hair must not be missed by rounding.
    each = {weight: math.floor((1 - zeros) * size + 1e-6) for weight, size in sizes.items()}
    total = math.floor((1 - zeros) * sum(sizes.values()) + 1e-6)
    if total < len(every):
        raise BudgetError(
            f"{wanted.words()} leaves {total} of {sum(sizes.values())} for {len(every)} layers",
            hint=f"with one for each layer it is {sum(sizes.values()) / len(every):.4g}x",
        )
    if wanted.scope == "global":
        return total
    return {weight: max(1, count) for weight, count in each.items()}


def _scores(
    coupling: Coupling,
    free: Sequence[Layer],
    criterion: ConnectionCriterion,
    evidence: ConnectionEvidence,
    name: str,
) -> dict[str, Floats]:
    tensors = coupling.program.tensors()
    found = {}
    for layer in free:
        scores = np.asarray(criterion.score_connections(layer.weight, evidence), dtype=np.float64)
        if scores.shape != layer.shape or not np.isfinite(scores).all():
            raise PluginError(
                f"criterion '{name}' does not give one finite score for each connection of {layer.weight}",
                hint="NaN or infinite weights or activations do that, too: check the model with one image",
            )
        found[layer.weight] = np.where(tensors[layer.weight].detach().numpy() != 0, scores, -np.inf)
    return found


def _masks(
    coupling: Coupling,
    free: Sequence[Layer],
    scores: Mapping[str, Floats],
    wanted: Thinning,
    keep: dict[str, int] | int,
    trained: bool,
) -> Masks:
    """The best connections, those that are dead replaced by the next best."""
    if wanted.pattern is not None:
        return {weight: _by_pattern(one, wanted.pattern) for weight, one in scores.items()}
    if isinstance(keep, dict):
        return {weight: _highest({weight: one}, keep[weight])[weight] for weight, one in scores.items()}
    every = {layer.weight: np.ones(layer.shape, dtype=bool) for layer in layers(coupling.program)}
    ask, masks = keep, _highest(scores, keep)
    for _ in range(_REFILLS):
        alive = without_dead(coupling, {**every, **_highest(scores, ask)}, constants=trained)
        missing = keep - sum(int(alive[weight].sum()) for weight in scores)
        if missing < 0 or not all(mask.any() for mask in alive.values()):
            break  # one more has brought others to life, or what is left is no network any more
        masks = {weight: alive[weight] for weight in scores}
        if not missing:
            return masks
        ask += missing
    # The last few places go to the next best, dead or not.
    return _highest({name: np.where(masks[name], np.inf, one) for name, one in scores.items()}, keep)


def _highest(scores: Mapping[str, Floats], count: int) -> Masks:
    """The connections with the highest scores of all; each weight keeps its own highest."""
    flat = np.concatenate([one.ravel() for one in scores.values()])
    starts = np.cumsum([0, *(one.size for one in scores.values())])
    best = [start + int(np.argmax(one)) for start, one in zip(starts, scores.values(), strict=False)]
    flat[best] = np.inf
    kept = np.zeros(len(flat), dtype=bool)
    kept[np.argsort(-flat, kind="stable")[:count]] = True
    kept &= np.isfinite(flat) | (flat > 0)
    pieces = np.split(kept, starts[1:-1])
    return {
        weight: piece.reshape(one.shape) for (weight, one), piece in zip(scores.items(), pieces, strict=True)
    }


def _by_pattern(scores: Floats, pattern: Pattern) -> Mask:
    """Of every `of` inputs, one after the other, the `keep` with the highest scores."""
    inputs_last = np.moveaxis(scores, 1, -1)
    rows = inputs_last.reshape(-1, pattern.of)
    kept = np.zeros(rows.shape, dtype=bool)
    order = np.argsort(-rows, axis=1, kind="stable")[:, : pattern.keep]
    np.put_along_axis(kept, order, True, axis=1)
    kept &= np.isfinite(rows)
    return np.ascontiguousarray(np.moveaxis(kept.reshape(inputs_last.shape), -1, 1))


def _chosen(
    criterion: ConnectionCriterion,
    coupling: Coupling,
    masks_of: Callable[[ConnectionCriterion], Masks],
    selection: Split | None,
) -> tuple[ConnectionCriterion, Choice | None]:
    """The candidate whose zeros change the answers to the selection images least."""
    candidates = list(criterion.candidates()) if isinstance(criterion, OpenCriterion) else []
    able = [one for one in candidates if isinstance(one, ConnectionCriterion)]
    if not able or selection is None:
        return criterion, None
    batches = list(selection.inputs(images_per_batch(coupling)))
    wanted = np.concatenate([*answers(coupling.program, batches)])
    require_finite(coupling.program.answer, torch.from_numpy(wanted))
    spread = float(np.square(wanted - wanted.mean(0)).sum()) or 1.0
    compared = []
    for one in able:
        found = np.concatenate([*answers(disconnected(coupling.program, masks_of(one)), batches)])
        # Zeros may leave a network no answer, as a sum that it divides by: nothing loses more.
        harm = np.nan_to_num(float(np.square(found - wanted).sum()) / spread, nan=LARGEST, posinf=LARGEST)
        compared.append(Candidate(options=_options(one), harm=float(f"{harm:.9g}")))
    best = int(np.argmin([one.harm for one in compared]))
    return able[best], Choice(images=len(selection), candidates=tuple(compared))


def _options(criterion: Criterion) -> Options:
    """The options of a plug-in; what no document can hold is written as text."""
    assert dataclasses.is_dataclass(criterion), "a plug-in is a dataclass"
    values = {one.name: getattr(criterion, one.name) for one in dataclasses.fields(criterion) if one.init}
    return {
        name: value if isinstance(value, bool | int | float | str | None) else str(value)
        for name, value in values.items()
    }

"""Compensate: refit every layer behind a cut so that it answers like the original.

Ridge regression of the original's values on the shrunk network's inputs, layer by layer in graph
order: what earlier layers got wrong is in the inputs, and what the residual stream got wrong is
taken into the next target (graph/ridge.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.errors import DataError
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.report import Compensation
from edgeprune.core.samples import Split
from edgeprune.graph.answer import answers
from edgeprune.graph.arrange import coupled_for
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling
from edgeprune.graph.memory import images_per_batch
from edgeprune.graph.reference import Layer
from edgeprune.graph.walk import Walk, affected, affordable, layers_of
from edgeprune.graph.weights import copied, write


def compensate(
    coupling: Coupling,
    shrunk: Program,
    plan: Plan,
    calibration: Split,
    selection: Split,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Program, Compensation]:
    """A refitted program, or the shrunk one where the refit does not help on the selection images.

    `shrunk` must come from surgery on the coupling's program (its node names are relied upon); it is
    changed in place only if the refit is kept.
    """
    _require_images(calibration, selection)
    progress = progress or Silent()
    coupling = coupled_for(coupling, plan)
    original, batch = coupling.program, images_per_batch(coupling)
    before = _divergence(original, shrunk, selection, batch)
    untouched = copied(shrunk)
    attempts = []
    ways = _ways(layers_of(coupling, shrunk, plan, affected(coupling, plan)))
    progress.start("compensate", sum(map(len, ways)))
    for layers in ways:
        write(shrunk, untouched)
        walk = partial(Walk, coupling, shrunk, plan, layers, seed)
        images = _refit(walk, calibration, batch, progress)
        after = _divergence(original, shrunk, selection, batch)
        attempts.append(_Attempt(len(layers), images, after, copied(shrunk)))
    best = min(attempts, key=lambda one: one.divergence)
    kept = best.divergence < before
    write(shrunk, best.tensors if kept else untouched)
    progress.finish()
    return shrunk, Compensation(
        images=best.images,
        refitted=best.layers if kept else 0,
        divergence_before=before,
        divergence_after=best.divergence,
        kept=kept,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """What came of refitting some layers with some images."""

    layers: int
    images: int
    divergence: float
    tensors: dict[str, Tensor]


def _ways(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Which layers to refit; recalibrated constants are only kept where they help."""
    fitted = [layer for layer in layers if not layer.one.constant]
    return [fitted] if len(fitted) == len(layers) else [fitted, list(layers)]


def _refit(walk: Callable[[list[Tensor]], Walk], calibration: Split, batch: int, progress: Progress) -> int:
    """Refit layer after layer, with as many images as fit in memory; how many those were."""
    images = calibration.take(affordable(walk, calibration))
    both = walk([torch.from_numpy(one) for one in images.inputs(batch)])
    for number in range(len(both.layers)):
        both.fit(number)
        both.leave(number)
        progress.advance()
    return len(images)


def _require_images(calibration: Split, selection: Split) -> None:
    for name, split in (("calibration", calibration), ("selection", selection)):
        if not len(split):
            raise DataError(
                f"{split.samples.name}: no {name} images are left to refit the network with",
                hint="bring more images, or ask for fewer test images",
            )


def _divergence(original: Program, shrunk: Program, split: Split, batch: int) -> float:
    """Squared output difference over the original's squared outputs about their mean."""
    difference = spread = 0.0
    batches = list(split.inputs(batch))
    for expected, present in zip(answers(original, batches), answers(shrunk, batches), strict=True):
        difference += float(np.square(present - expected).sum())
        spread += float(np.square(expected - expected.mean(0)).sum())
    return difference / (spread or 1.0)

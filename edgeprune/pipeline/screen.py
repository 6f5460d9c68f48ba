"""Screening alone: what the images say about a network's channels, before anything is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.inputs import InputSize
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion, Need, OpenCriterion
from edgeprune.core.registry import build_from
from edgeprune.core.request import Calibration, Look
from edgeprune.core.sample_size import POWER, require_power
from edgeprune.core.samples import Split
from edgeprune.core.screening import Screening
from edgeprune.graph.couple import Coupling
from edgeprune.graph.processes import together
from edgeprune.pipeline.compress import default_criterion
from edgeprune.pipeline.look import looked_at, sizes
from edgeprune.stages.ask import ask_to_screen
from edgeprune.stages.draw import draw_to_screen, image_size
from edgeprune.stages.load import require_single
from edgeprune.stages.screen import screen as screen_groups

if TYPE_CHECKING:
    from torch import nn


def screen(
    model: str | Path | nn.Module | None = None,
    *,
    data: str | None = None,
    arch: str | None = None,
    input: tuple[int, ...] | Sequence[InputSize] | None = None,
    images: int | None = None,
    criterion: str | None = None,
    power: float = POWER,
    seed: int = 0,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
    progress: Progress | None = None,
) -> Screening:
    """How the units of every free group rank, and what the classes have to do with it.

    Without labels there are no class statistics; without data, weights alone rank the units. Under `torchrun`
    all processes call it: they share the batches and the groups, and get the same result.

    Parameters
    ----------
    images : int, optional
        How many images to look at; default 2,000, or 60 % of the data.
    criterion : str, optional
        Default: `screening`, without labels `refit`, without data `l2`.

    power : float
        With which the required images of a group are to find its median unit's effect, between 0 and 1.

    Raises
    ------
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    told = progress or Silent()
    source = Path(model) if isinstance(model, (str, Path)) else model

    def asked() -> tuple[Look, Calibration | None]:
        require_power(power)
        return ask_to_screen(
            source,
            arch=arch,
            inputs=sizes(input),
            data=data,
            images=images,
            criterion=criterion,
            seed=seed,
            trust_pickle=trust_pickle,
            allow_inexact=allow_inexact,
        )

    with together() as team:
        look, wanted = team.told(asked)
        told.start("load")
        coupling = _coupled(source, look, wanted)
        told.finish()
        split = draw_to_screen(wanted, coupling.program) if wanted else None
        name = criterion or default_criterion(split)
        ranking: Criterion = build_from("criteria", name)
        return screen_groups(
            coupling,
            split,
            ranking,
            name=name,
            class_names=wanted.labels if wanted else (),
            also=_beside(ranking, split),
            power=power,
            seed=seed,
            team=team,
            progress=told,
        )


def _beside(ranking: Criterion, split: Split | None) -> tuple[Need, ...]:
    """What to gather beside the criterion's own needs: harm curves only where something rests on them."""
    labelled = split is not None and split.labels is not None
    if not labelled:
        return ("gram",)  # without classes they are all that the images tell
    judged = isinstance(ranking, OpenCriterion) and ranking.candidates()
    return ("moments", "gram") if judged else ("moments",)


def _coupled(source: Path | nn.Module | None, look: Look, wanted: Calibration | None) -> Coupling:
    """The network, captured at the images' size where nothing else says one."""
    size = image_size(wanted) if wanted and not look.inputs else None
    chosen = look.model_copy(update={"inputs": sizes(size)}) if size else look
    coupling = looked_at(source, chosen)
    if wanted:
        require_single(coupling.program, "screen with --data")
    return coupling

"""Replication: whether images show the classes often enough to compare them, and what to say where not."""

from __future__ import annotations

import numpy as np

from edgeprune.core.errors import RequestError
from edgeprune.core.moments import comparable
from edgeprune.core.protocols import ClassCriterion, Criterion
from edgeprune.core.samples import Split


def incomparable(images: Split | None, replicated: int = 1) -> str | None:
    """Why the classes of some images cannot be compared; None where they can, and without labels.

    Parameters
    ----------
    replicated : int
        How many classes must have two images or more: only those show how much a class varies.
    """
    if images is None or images.labels is None:
        return None
    count = np.bincount(images.labels)
    if comparable(count, replicated):
        return None
    if np.count_nonzero(count) < 2:
        return f"only one class is among the {len(images)} images"
    some = "only one" if count.max() > 1 else "no"
    return f"{some} class has two of the {len(images)} images"


def require_replicates(criterion: Criterion, images: Split | None, name: str, *, others: str) -> None:
    """Refuse a criterion that would have nothing to rank by.

    Parameters
    ----------
    others : str
        Criteria to choose instead, as the hint names them.

    Raises
    ------
    RequestError
        It compares classes by nothing but these images, which do not show them often enough.
    """
    replicated = criterion.replicated_classes if isinstance(criterion, ClassCriterion) else 0
    why = incomparable(images, replicated) if replicated else None
    if why is not None:
        raise RequestError(
            f"criterion '{name}' compares classes, but {why}",
            hint=f"give more with --images, or choose one that compares none: {others}",
        )


def ranked_without_f(why: str, name: str) -> str:
    """What a report says where a criterion went on without its F."""
    return f"{why}, so F is not defined and {name} ranked without it; --images gives more"

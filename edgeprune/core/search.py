"""Search: the trials by which the smallest network within a bound on the drop was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.drop import Answers, Drop
from edgeprune.core.plan import Cost

Narrowed = Literal["macs", "parameters", "bytes"]
_CLOSE = 1.05
"""A search ends when what held and what did not lie this close together."""


class Trial(Document):
    """One cut that was tried: planned, carried out, refitted and judged on the selection images."""

    asked: int = Field(description="bound on what the search narrows")
    reached: int = Field(description="what the plan left of it")
    cost: Cost
    drop: Drop = Field(description="on the selection images")
    certainty: float = Field(description="confidence, 0 to 1, that the drop is within the bound")
    held: bool = Field(description="whether that is as much as was asked for")
    seconds: float


class Search(Document):
    """All trials, in the order they were made."""

    kind: Literal["search/1"] = "search/1"
    at_most: float = Field(description="points")
    confidence: float
    answers: Answers
    images: int = Field(description="selection images that judged")
    narrows: Narrowed
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The smallest cut that held; None where none did."""
        return min((one for one in self.trials if one.held), key=lambda one: one.reached, default=None)


def next_bound(tried: Sequence[Trial], *, whole: int, least: int, first: int | None) -> int | None:
    """What to try next: halves until one trial fails, then the middle, on a scale of ratios.

    Parameters
    ----------
    whole, least : int
        What the search narrows, before any cut and with everything at its narrowest.
    first : int, optional
        A bound to be kept in any case: it is tried first, and where it fails there is no more to try.
    """
    if first is not None and not tried:
        return first
    # A plan may undercut what was asked: all bounds from there to what was asked give the same plan.
    above = min((one.reached for one in tried if one.held), default=None if first else whole)
    below = max((one.asked for one in tried if not one.held), default=None)
    if above is None or above <= least:
        return None
    if below is None:
        return max(least, above // 2)
    middle = int(math.sqrt(above * below))
    return middle if above / below > _CLOSE and below < middle < above else None

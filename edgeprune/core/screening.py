"""What screening found: scores, statistics and harm curves per group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document


class GroupScreening(Document):
    """One group; all tuples have one entry per unit."""

    scores: tuple[float, ...]
    order: tuple[int, ...] = Field(description="units from the first to be cut to the last")
    harm: tuple[float, ...] = Field(
        description="entry k: share of the readers' output variance lost after the first k units went"
    )
    magnitude: tuple[float, ...]
    f_statistic: tuple[float, ...] | None = None
    p_value: tuple[float, ...] | None = None
    significant: int | None = Field(
        default=None, description="units whose class means differ, at a false discovery rate of 5 %"
    )


Options = Mapping[str, bool | int | float | str | None]
"""A criterion's options by name."""


class Candidate(Document):
    """A value of what was left open, and what cutting by it would lose."""

    options: Options
    harm: float = Field(description="mean refit error of all groups, a quarter, half and three quarters cut")


class Choice(Document):
    """What the run chose among, where an option of the criterion was left to it."""

    images: int = Field(description="held-out images that ranked the units; 0: the judging images did")
    candidates: tuple[Candidate, ...]


class Screening(Document):
    """All groups, and the images the statistics come from."""

    kind: Literal["screening/1"] = "screening/1"
    criterion: str
    options: Options = Field(default={}, description="of the criterion, those the run chose included")
    choice: Choice | None = Field(default=None, description="how the run chose; None: nothing was open")
    images: int
    groups: dict[str, GroupScreening]

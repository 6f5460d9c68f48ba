"""What screening found: scores, statistics and harm curves per group."""

from __future__ import annotations

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


class Screening(Document):
    """All groups, and the images the statistics come from."""

    kind: Literal["screening/1"] = "screening/1"
    criterion: str
    images: int
    groups: dict[str, GroupScreening]

"""What screening found: scores, statistics and harm curves per group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.sample_size import POWER


class Agreement(Document):
    """How well a ranking agrees with the rankings that redrawn data give."""

    mean: float = Field(description="mean Spearman correlation with the redraws: 1 is the same ranking")
    interval: tuple[float, float] = Field(description="2.5th and 97.5th percentile of the redraws")


class RankStability(Document):
    """How far the ranking by F would change with other images or other classes."""

    images: Agreement
    classes: Agreement | None = Field(description="null of fewer than three classes")
    lowest_half: tuple[float, ...] = Field(
        description="per unit: share of redrawn image sets in which it is among the lower half by F; "
        "near 0 or 1 the half it is in is certain, near 0.5 it is chance"
    )


class ServedClasses(Document):
    """Which classes the units of a group serve.

    A contrast is the distance of a class's mean from that of all others, in standard deviations within
    the classes (Cohen's d); a unit serves the class with its largest one.
    """

    serves: tuple[int, ...] = Field(description="per unit: the class it answers most to")
    contrast: tuple[float, ...] = Field(description="per unit: Cohen's d of that class against all others")
    lost: tuple[float, ...] = Field(
        description="per class: share of its squared contrasts that the lower half of the units hold, by the "
        "criterion's order; above the other classes', a cut costs this class more"
    )


class GroupScreening(Document):
    """One group; all tuples have one entry per unit unless they say otherwise."""

    scores: tuple[float, ...]
    order: tuple[int, ...] = Field(description="units from the first to be cut to the last")
    harm: tuple[float, ...] = Field(
        description="entry k: what the first k units' removal costs; with images the share of the outputs' "
        "variance, where it was measured, else of the readers' outputs; without images a share of the scores"
    )
    measured: dict[int, float] = Field(
        default={}, description="harm by number of removed units, where it was measured on the whole network"
    )
    magnitude: tuple[float, ...] = Field(description="norm of all weights that go with the unit")
    f_statistic: tuple[float, ...] | None = Field(
        default=None,
        description="one-way ANOVA F of the unit's mean activation across classes; the mean of those of all "
        "values in which the unit is read",
    )
    p_value: tuple[float, ...] | None = Field(
        default=None,
        description="of that F-test; of a unit that is read in several values the smallest of their p-values "
        "times their number, at most 1 (Bonferroni)",
    )
    significant: int | None = Field(
        default=None, description="units whose class means differ, at a false discovery rate of 5 %"
    )
    welch_f: tuple[float, ...] | None = Field(
        default=None,
        description="Welch's F: every class with its own variance; null where fewer than two have two images",
    )
    omega_squared: tuple[float, ...] | None = Field(
        default=None, description="share of the unit's variance that the classes explain"
    )
    required_images: int | None = Field(
        default=None,
        description="images to find the median unit's effect at 5 %, with the document's power; null without "
        "one",
    )
    stability: RankStability | None = None
    classes: ServedClasses | None = None


Options = Mapping[str, bool | int | float | str | None]
"""A criterion's options by name."""


class Candidate(Document):
    """A value of what was left open, and what cutting by it would lose."""

    options: Options
    harm: float = Field(
        description="of units: mean refit error of all groups, a quarter, half and three quarters cut; of "
        "connections: squared change of the answers over their variance"
    )
    p_value: float | None = Field(
        default=None,
        description="of units: that it loses no less than the first candidate (one-sided paired t-test over "
        "the groups), which is taken unless another is better at 5 % by Holm; null where there was no test",
    )


class Choice(Document):
    """What the run chose among, where an option of the criterion was left to it."""

    images: int = Field(description="held-out images that ranked the units; 0: the judging images did")
    candidates: tuple[Candidate, ...]
    incomparable: str | None = Field(
        default=None, description="why these images show no F to rank by; null where they do"
    )


class Screening(Document):
    """All groups, and the images the statistics come from."""

    kind: Literal["screening/1"] = "screening/1"
    criterion: str
    options: Options = Field(default={}, description="of the criterion, those the run chose included")
    choice: Choice | None = Field(default=None, description="how the run chose; None: nothing was open")
    images: int
    classes: int = Field(default=0, description="classes the labels are of; 0 without labels")
    labels: tuple[str, ...] = Field(default=(), description="class names in output order")
    incomparable: str | None = Field(
        default=None, description="why there are no class statistics although there are labels"
    )
    power: float = Field(
        default=POWER, gt=0, lt=1, description="with which the required images of a group find its effect"
    )
    groups: dict[str, GroupScreening]

    def name_of(self, label: int) -> str:
        """What a class is called: its name where there is one, its number otherwise."""
        return self.labels[label] if label < len(self.labels) else str(label)

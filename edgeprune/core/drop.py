"""Drop: what became of right answers, image by image, and whether it stays within a bound."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, computed_field, model_validator

from edgeprune.core.alike import alike
from edgeprune.core.document import Document
from edgeprune.core.paired import confidence_of_drop, drop_interval, mcnemar_p_value
from edgeprune.core.units import format_points

Answers = Literal["right", "same"]
"""Without labels the original's own answers are taken for the right ones: every other answer (core/alike.py)
is lost."""


class Drop(Document):
    """What became of the original's right answers, image by image; the rest follows from the counts."""

    both_right: int = Field(ge=0)
    lost: int = Field(ge=0, description="images that only the original answers rightly")
    gained: int = Field(ge=0, description="images that only the other answers rightly")
    both_wrong: int = Field(ge=0)

    @model_validator(mode="before")
    @classmethod
    def _derive_again(cls, data: Any) -> Any:
        """Leave out statistics that a written document carries: they follow from the counts."""
        if isinstance(data, dict):
            derived = {"before", "after", "points", "interval", "p_value"}
            return {key: value for key, value in data.items() if key not in derived}
        return data

    @model_validator(mode="after")
    def _has_images(self) -> Drop:
        if not self.images:
            raise ValueError("a drop needs at least one image")
        return self

    @property
    def images(self) -> int:
        """How many images both have answered."""
        return self.both_right + self.lost + self.gained + self.both_wrong

    @computed_field  # type: ignore[prop-decorator]
    @property
    def before(self) -> float:
        """Percent of the images that the original answers rightly."""
        return round(100 * (self.both_right + self.lost) / self.images, 4)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def after(self) -> float:
        """Percent of the images that the other answers rightly."""
        return round(100 * (self.both_right + self.gained) / self.images, 4)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def points(self) -> float:
        """By how many points the accuracy fell; negative where it rose."""
        return round(100 * (self.lost - self.gained) / self.images, 4)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `points` (Tango's, for paired answers)."""
        low, high = drop_interval(self.lost, self.gained, self.images)
        return round(low, 4), round(high, 4)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p_value(self) -> float:
        """Of McNemar's exact test that nothing changed."""
        return float(f"{mcnemar_p_value(self.lost, self.gained):.6g}")

    def confidence(self, *, at_most: float) -> float:
        """Confidence, 0 to 1, that the accuracy falls by at most so many points on images like these."""
        return confidence_of_drop(self.lost, self.gained, self.images, at_most=at_most)


def bound_words(at_most: float, answers: Answers) -> str:
    """How much may be lost: points of accuracy, or without labels a share of the answers."""
    return format_points(at_most) if answers == "right" else f"{at_most:g} % of the answers"


class DropClaim(Document):
    """A bound on the drop, judged on images that had no part in finding the network."""

    at_most: float = Field(description="points")
    confidence: float = Field(description="at which the bound is to hold, 0 to 1")
    answers: Answers = Field(description="right: accuracy; same: agreement with the original, without labels")
    drop: Drop

    @model_validator(mode="before")
    @classmethod
    def _derive_again(cls, data: Any) -> Any:
        """Leave out what a written document carries and the counts say."""
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if key not in {"verdict", "certainty"}}
        return data

    @computed_field  # type: ignore[prop-decorator]
    @property
    def certainty(self) -> float:
        """Confidence, 0 to 1, that the drop is within the bound on images like these."""
        return round(self.drop.confidence(at_most=self.at_most), 6)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Literal["yes", "no", "undecided"]:
        """Whether the drop is within the bound; undecided where the images show neither."""
        certainty = self.drop.confidence(at_most=self.at_most)
        if certainty >= self.confidence:
            return "yes"
        return "no" if 1 - certainty >= self.confidence else "undecided"

    def words(self) -> str:
        """The bound as a phrase."""
        bound = bound_words(self.at_most, self.answers)
        return (
            f"{'drop' if self.answers == 'right' else 'change'} within {bound} at {100 * self.confidence:g} %"
        )

    def unmet(self) -> list[str]:
        """Why the claim is refuted, as a line; nothing where it is not."""
        if self.verdict != "no":
            return []
        low, high = self.drop.interval
        return [
            f"the {self.words()} is refuted by the test images: {self.drop.points:.2f} points "
            f"[{low:.2f}, {high:.2f}]"
        ]


def drop_of(
    original: NDArray[np.float32], other: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> Drop:
    """How right answers turned wrong and wrong ones right; outputs of shape (images, ...).

    Without labels the original's answers count as right, and every answer that is not like it is lost.
    """
    if labels is None:
        before, after = np.ones(len(original), dtype=np.bool_), alike(original, other)
    else:
        before, after = original.argmax(1) == labels, other.argmax(1) == labels
    return Drop(
        both_right=int((before & after).sum()),
        lost=int((before & ~after).sum()),
        gained=int((~before & after).sum()),
        both_wrong=int((~before & ~after).sum()),
    )

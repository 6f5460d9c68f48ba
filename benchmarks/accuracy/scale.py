"""Scale: how many images a table is measured with, and how its networks are cut; smaller for a trial run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.accuracy.subjects import Subject
from edgeprune.core.samples import Splits


@dataclass(frozen=True, slots=True)
class Scale:
    """What all rows of the tables have in common."""

    criterion: str
    """The default one."""
    calibration: int = 2_000
    test: int | None = None
    """None for all test images."""
    multiple: int = 1
    """Kept widths are multiples of it."""
    seed: int = 0
    """Which images are drawn."""

    def splits(self, subject: Subject) -> Splits:
        """The images of a subject, the same for every row."""
        return subject.splits(self.seed, calibration=self.calibration, test=self.test)

    def words(self) -> str:
        """What was measured with, as a sentence."""
        return (
            f"{self.calibration:,} calibration images, accuracy on {self.tested} test images with 95 % "
            f"Wilson intervals, kept widths multiples of {self.multiple}, seed {self.seed}."
        )

    @property
    def tested(self) -> str:
        """How many test images there are, in words."""
        return "all 10,000" if self.test is None else f"{self.test:,}"

"""Quantization: how an integer file was made, what was tried, and which operators went back to float32."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Artifact
from edgeprune.core.document import Document
from edgeprune.core.drop import Answers, Drop, DropClaim
from edgeprune.core.ranges import Method


class Guard(Document):
    """What a quantized file may lose before operators go back to float32."""

    at_most: float = Field(gt=0, description="points, or without labels percent of the answers")
    confidence: float = Field(
        default=0.5, description="at which selection images must show it; 0.5: the drop as counted"
    )
    against: Literal["original", "float32"] = Field(
        default="float32", description="whose answers the drop is counted from: before the cut, or after it"
    )
    answers: Answers = "right"

    def claim(self, drop: Drop, confidence: float | None = None) -> DropClaim:
        """The bound, asked of a drop."""
        return DropClaim(
            at_most=self.at_most,
            confidence=self.confidence if confidence is None else confidence,
            answers=self.answers,
            drop=drop,
        )

    def holds(self, drop: Drop) -> bool:
        """Whether a drop on the selection images keeps to the bound."""
        return self.claim(drop).verdict == "yes"


class Trial(Document):
    """One way to choose ranges, judged on selection images."""

    ranges: Method
    repaired: bool = Field(description="with weights equalised, rounded and biases corrected beforehand")
    snr_db: float | None = Field(
        description="outputs of float32 over the difference to them, decibels; null where they are equal"
    )


class Step(Document):
    """A file on the way, with so many operators back in float32."""

    drop: Drop
    bytes: int
    p50_ms: float | None = Field(default=None, description="on this machine, one thread, files taking turns")


class Fallback(Step):
    """Operators that went back to float32, and the file with them and those before them back."""

    operators: tuple[str, ...]
    kind: str
    snr_db: float | None = Field(description="with only these in integers, decibels")


class Quantization(Document):
    """How one file was quantized."""

    operators: int = Field(description="that can compute in integers")
    images: int = Field(description="selection images that the drop was judged on")
    guard: Guard
    trials: tuple[Trial, ...]
    ranges: Method = Field(description="those of the trial with the best signal")
    repaired: bool
    before: Step = Field(description="with every operator in integers")
    fallbacks: tuple[Fallback, ...] = ()
    after: Step = Field(description="with these operators back; with all of them where nothing holds")
    holds: bool

    @property
    def floats(self) -> int:
        """How many operators went back."""
        return sum(len(one.operators) for one in self.fallbacks)


class Quantized(Document):
    """What quantizing gave: files, how the calibrated ones were made, and why others could not be."""

    artifacts: tuple[Artifact, ...]
    failed: dict[str, str] = Field(default_factory=dict)
    made: dict[str, Quantization] = Field(default_factory=dict, description="by path, calibrated files only")
    unmet: tuple[str, ...] = Field(default=(), description="bounds that no integer file kept to")
    doubts: tuple[str, ...] = Field(default=(), description="what is wrong with the calibration images")

"""Size: what a bound on the smallest file leaves for its weights, and whether the file keeps to it."""

from __future__ import annotations

from pydantic import Field

from edgeprune.core.artifact import Artifact, Precision
from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError, did_you_mean
from edgeprune.core.units import format_bytes, parse_count

BYTES: dict[Precision, tuple[float, float]] = {
    "fp32": (4, 2),
    "fp16": (2, 1),
    "int8-static": (1, 4),
    "int8-dynamic": (1, 0),
    "int8-weight-only": (1, 2),
    "int8w-int16a": (1, 8),
    "int4-weight-only": (0.5, 2),
}
"""Bytes of one weight of a layer, and of one entry of a norm or bias, in a file of a precision.

A norm is folded into its layer, so of its two parameters one float stays; int8 files keep a bias of 32 bits
and a scale. Dynamic int8 leaves biases as they are. Where a file holds more, the surplus counts as constant,
so that what is predicted is never below what is written."""


def parse_size(text: str) -> tuple[int, Precision | None]:
    """Bytes, and the precision they are for: '500k' or '500k:fp32'."""
    count, colon, precision = text.partition(":")
    known = [one for one in BYTES if one != "int8-dynamic"]
    if colon and precision not in known:
        raise RequestError(f"--size: unknown precision '{precision}'", hint=did_you_mean(precision, known))
    meant = next((one for one in known if one == precision), None)
    return parse_count(count, option="--size"), meant


class SizeBound(Document):
    """A bound on the smallest file, in terms of what a plan can change.

    Names, the graph and everything else but weights take as much as in the same file of the original.
    """

    asked: int = Field(description="bytes of the file, at most")
    original: Artifact = Field(description="the original's smallest file")
    weights: int = Field(description="bytes of its weights")

    @property
    def precision(self) -> Precision:
        """The precision of the file."""
        return self.original.precision

    @property
    def room(self) -> int:
        """Bytes that the weights may take."""
        return self.asked - self.file_of(0)

    def file_of(self, weights: int) -> int:
        """Bytes of the file, at most, when its weights take so many."""
        return self.original.bytes - self.weights + weights

    def part(self, share: float) -> SizeBound:
        """The bound after a share of the way, on a scale of ratios."""
        room = part_of_way(self.weights, max(1, self.room), share)
        return self.model_copy(update={"asked": self.file_of(room)})


def part_of_way(whole: int, goal: int, share: float) -> int:
    """A share of the way from the whole to a smaller goal, on a scale of ratios: half of 2x is 1.41x."""
    return goal if share == 1 or goal >= whole else int(whole * (goal / whole) ** share)


class SizeClaim(Document):
    """What was asked for, what the plan foretold, and what was written."""

    asked: int
    path: str = Field(description="the smallest file, of the precision where one was named")
    predicted: int = Field(description="bytes, at most, as the plan foretold")
    bytes: int

    def unmet(self) -> list[str]:
        """Why the bound is not kept, as a line; nothing where it is."""
        if self.bytes <= self.asked:
            return []
        return [
            f"{self.path} has {format_bytes(self.bytes)}, more than the {format_bytes(self.asked)} asked for"
        ]

"""What emulated boards answered, in how many instructions, and what that means beside this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.document import Document

REPEATABLE = 0.001
"""Share by which two counts of the same inference may differ (measured: docs/benchmarks.md, emulation)."""


class Instructions(Document):
    """Instructions of one inference on one thread, by class; the classes overlap with none other."""

    total: int
    float_multiply_add: int = Field(description="FMLA, FMLS, FMADD and relatives, of vectors and scalars")
    dot_product: int = Field(description="SDOT, UDOT, USDOT and int8 matrix products")
    integer_multiply_add: int = Field(description="SMLAL, UMLAL, SMULL, MLA and relatives")
    load_store: int
    branch: int
    totals: tuple[int, ...] = Field(
        min_length=1, description="of every inference that was counted; the cheapest is given above"
    )


class Likeness(Document):
    """The board's answers beside this machine's, to the same inputs."""

    inputs: int = Field(gt=0)
    equal: bool = Field(description="to the last bit")
    differing: float = Field(ge=0, le=1, description="share of output elements that differ")
    max_abs: float | None = Field(description="largest difference; null where one is not finite")
    relative: float | None = Field(description="max_abs over the largest magnitude answered here")
    max_lsb: float | None = Field(
        description="max_abs in steps of the quantized output; null where the output is no quantized tensor"
    )
    top1: float | None = Field(
        ge=0, le=100, description="percent of inputs with the same class first; null: answers are no scores"
    )


class EmulatedFile(Document):
    """One file on one board."""

    path: str
    sha256: str
    format: Format
    precision: Precision
    board: str
    runtime: str
    version: str
    likeness: Likeness
    instructions: Instructions | None
    passed: bool
    why: str = Field(description="how the answers differ, in words; '' where they are equal")


@dataclass(frozen=True, slots=True)
class Growth:
    """One count beside the same file's on the same board in an earlier check."""

    path: str
    board: str
    before: int
    after: int

    @property
    def percent(self) -> float:
        """How much more, in percent; negative where it became less."""
        return 100 * (self.after / self.before - 1)


class Emulation(Document):
    """`edgeprune verify FILE... --on BOARD`; no wall time: it says nothing about a device's."""

    kind: Literal["emulation/1"] = "emulation/1"
    qemu: str
    host: str
    inputs: str = Field(description="what went in")
    uncounted: str = Field(description="why no instructions were counted; '' where they were")
    files: tuple[EmulatedFile, ...]

    def failures(self) -> list[str]:
        """Files that answered differently, one line each."""
        return [f"{one.path} on {one.board}: {one.why}" for one in self.files if not one.passed]

    def growth(self, baseline: Emulation) -> list[Growth]:
        """Counts beside the baseline's: of the same path, or else of the same file name."""
        pairs = [(one, _counterpart(one, baseline.files)) for one in self.files if one.instructions]
        return [
            Growth(
                path=one.path,
                board=one.board,
                before=other.instructions.total,
                after=one.instructions.total,
            )
            for one, other in pairs
            if other is not None and other.instructions is not None and one.instructions is not None
        ]


def grown(rows: Sequence[Growth], percent: float) -> list[Growth]:
    """Those that grew by more than so many percent, beyond what two counts of one inference may differ."""
    limit = (1 + percent / 100) * (1 + REPEATABLE)
    return [row for row in rows if row.after > row.before * limit]


def _counterpart(one: EmulatedFile, others: Sequence[EmulatedFile]) -> EmulatedFile | None:
    same = [other for other in others if other.board == one.board]
    exact = [other for other in same if other.path == one.path]
    named = [other for other in same if Path(other.path).name == Path(one.path).name]
    if exact:
        return exact[0]
    return named[0] if len(named) == 1 else None

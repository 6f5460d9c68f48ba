"""Comparisons: two reports side by side, with a verdict that knows its own uncertainty."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document

Verdict = Literal["faster", "slower", "indistinguishable", "not measured"]


class Row(Document):
    """One file that both reports have."""

    format: str
    precision: str
    bytes_before: int
    bytes_after: int
    top1_before: float | None
    top1_after: float | None
    top1_change: tuple[float, float] | None = Field(
        default=None,
        description="95 % interval of the change in points (Newcombe's, as if the test images were others)",
    )
    p50_ms_before: float | None
    p50_ms_after: float | None
    ratio: float | None = Field(description="p50 after / p50 before")
    interval: tuple[float, float] | None = Field(description="95 % bootstrap interval of the ratio")
    verdict: Verdict


class Comparison(Document):
    """`edgeprune compare A B`."""

    kind: Literal["comparison/1"] = "comparison/1"
    before: str
    after: str
    same_device: bool
    rows: tuple[Row, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()

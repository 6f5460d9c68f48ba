"""Advice: what static int8 can be expected to give on a target, by what it gave on networks like this one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.document import Document

_PER_DECADE = 0.05
_ALIKE = 0.03
"""Precedents that differ by less from the nearest count alike."""
_UNLIKE = 0.5
"""What differs by more is no precedent: a gate, say."""


class Traits(Document):
    """What decides how much integers help: size, how much is depthwise, and whether there are gates."""

    macs: int = Field(ge=0, description="multiply-accumulates; on little work conversions weigh more")
    depthwise: float = Field(ge=0, le=1, description="share of the multiply-accumulates in depthwise layers")
    gated: bool = Field(
        description="whether swishes, sigmoids or GELUs stand between layers: few runtimes have integer "
        "kernels for them"
    )

    def distance(self, other: Traits) -> float:
        """How unlike another network is; a gate counts more than any share, ten times the size a little."""
        sizes = abs(math.log10(max(self.macs, 1) / max(other.macs, 1)))
        return abs(self.depthwise - other.depthwise) + (self.gated != other.gated) + _PER_DECADE * sizes


class Precedent(Document):
    """How much faster static int8 was than float32 on a target, for one network and runtime."""

    format: Format
    network: str
    traits: Traits
    speedup: float = Field(gt=0, description="float32 over int8 latency")
    source: str


class Advice(Document):
    """What to expect of static int8 in one format before it is made, and what it gave where it was timed."""

    format: Format
    traits: Traits
    lowest: float | None = Field(description="speed-up of the precedents most like it; null without any")
    highest: float | None
    precedents: tuple[Precedent, ...] = ()
    reasons: tuple[str, ...] = ()
    measured: float | None = Field(default=None, description="on the target, once the files were timed there")

    def words(self, target: str) -> str:
        """The advice in one line, with its evidence."""
        if self.lowest is None or self.highest is None:
            return f"int8 on {target}, {self.format}: no measured precedent for a network like this"
        expected = (
            f"{self.lowest:.1f}x"
            if self.highest - self.lowest < 0.1
            else f"{self.lowest:.1f}-{self.highest:.1f}x"
        )
        verdict = f"will give about {expected}" if self.lowest > 1 else f"may not help ({expected})"
        known = ", ".join(f"{one.network} {one.speedup:.2f}x" for one in self.precedents)
        why = f"; {'; '.join(self.reasons)}" if self.reasons else ""
        measured = "" if self.measured is None else f"; measured {self.measured:.2f}x"
        return f"int8 on {target}, {self.format}: {verdict} against float32 ({known}{why}){measured}"


def advised(
    format: Format, traits: Traits, precedents: Sequence[Precedent], reasons: Sequence[str]
) -> Advice:
    """The precedents that are most like the network, and what they span."""
    known = [one for one in precedents if one.format == format and traits.distance(one.traits) <= _UNLIKE]
    nearest = min((traits.distance(one.traits) for one in known), default=0.0)
    alike = [one for one in known if traits.distance(one.traits) <= nearest + _ALIKE]
    found = [one.speedup for one in alike]
    return Advice(
        format=format,
        traits=traits,
        lowest=min(found, default=None),
        highest=max(found, default=None),
        precedents=tuple(alike),
        reasons=tuple(reasons),
    )

"""Advise: what static int8 will do on a target, said before it is made."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.core.advice import Advice, advised
from edgeprune.core.artifact import Format
from edgeprune.core.target import Target
from edgeprune.graph.capture import Program
from edgeprune.graph.traits import traits_of


def advise(program: Program, target: Target, formats: Sequence[Format]) -> list[Advice]:
    """One piece of advice per format, with the precedents it rests on."""
    traits = traits_of(program)
    reasons = []
    dot = target.physics.get("int8_dot_product")
    if dot is not None and dot.value is False:
        reasons.append("the cores have no dot-product instructions")
    if traits.depthwise >= 0.005:
        reasons.append(f"{100 * traits.depthwise:.0f} % of the multiply-accumulates are depthwise")
    if traits.gated:
        reasons.append("swishes, sigmoids or the like stand between integer layers")
    return [advised(format, traits, target.int8, reasons) for format in formats]

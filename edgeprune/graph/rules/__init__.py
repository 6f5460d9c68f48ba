"""One rule per operator family, one table of all operators."""

from __future__ import annotations

from edgeprune.graph.flow import Rule
from edgeprune.graph.rules import (
    attention,
    convolution,
    elementwise,
    joining,
    normalisation,
    padding,
    reduction,
    reshaping,
)

RULES: dict[str, Rule] = {
    **attention.RULES,
    **convolution.RULES,
    **elementwise.RULES,
    **joining.RULES,
    **normalisation.RULES,
    **padding.RULES,
    **reduction.RULES,
    **reshaping.RULES,
}

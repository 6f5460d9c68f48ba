"""One rule per operator family, one table of all operators."""

from __future__ import annotations

from edgeprune.graph.flow import Rule
from edgeprune.graph.rules import (
    attention,
    convolution,
    creating,
    elementwise,
    joining,
    normalisation,
    padding,
    rearranging,
    recurrent,
    reduction,
    reshaping,
    shuffling,
)

RULES: dict[str, Rule] = {
    **attention.RULES,
    **convolution.RULES,
    **creating.RULES,
    **elementwise.RULES,
    **joining.RULES,
    **normalisation.RULES,
    **padding.RULES,
    **rearranging.RULES,
    **recurrent.RULES,
    **reduction.RULES,
    **reshaping.RULES,
    **shuffling.RULES,
}

"""Finite: the first value with NaN or infinity is named by the layer that answers with it."""

from __future__ import annotations

import math

from torch import Tensor
from torch.fx import Node

from edgeprune.core.errors import ModelError
from edgeprune.core.units import format_operator
from edgeprune.graph.nodes import module_of, operator_name, source_of


def require_finite(node: Node, value: Tensor) -> None:
    """Refuse a value that statistics would be lost to.

    Raises
    ------
    ModelError
        It holds NaN or infinity.
    """
    if not math.isfinite(value.sum()):
        place = ", ".join(part for part in (module_of(node), source_of(node)) if part) or node.name
        operator = format_operator(operator_name(node))
        raise ModelError(
            f"{operator} ({place}) answers with NaN or infinity",
            hint="look for weights that are not finite, or for a division by zero in that line",
        )

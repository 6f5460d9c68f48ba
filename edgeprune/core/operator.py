"""Operators of an exported file, as a quantizer can be told of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a file."""

    name: str
    """Unique within the file."""
    kind: str
    """As the format calls it: `Conv`, `CONV_2D`."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator of a file that ran: what it read and made, by name, and its first answer."""

    operator: Operator
    inputs: tuple[str, ...]
    output: str
    answer: NDArray[np.generic]


def short_name(name: str) -> str:
    """An operator's name as people read it: converters write the classes of all modules around it, too.

    `pkg.Net/torch.nn.modules.container.Sequential_features/pkg.Block_0;;...` becomes `features.0`.
    """
    first = next((part for part in name.split(";") if part), name)
    first = re.sub(r"edgeprune-file:\S*?\.py\.", "", first)
    modules = [re.match(r"(?:.*\.)?[A-Za-z0-9]+_(\w+)$", part) for part in first.split("/")]
    path = ".".join(found[1] for found in modules if found is not None)
    return path if "/" in first and path else first

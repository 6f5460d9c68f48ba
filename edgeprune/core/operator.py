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

    `pkg.Net/torch.nn.modules.container.Sequential_features/pkg.Block_0;;...` becomes `features.0`. Of modules
    that were fused into one operator (`pkg.Net;;pkg.Net/torch.nn.modules.conv.Conv2d_stem;`: what `pkg.Net`
    itself applies to what `stem` answers), the innermost names it; of equal ones the last, which ran first.
    """
    parts = [re.sub(r"edgeprune-file:\S*?\.py\.", "", part) for part in name.split(";") if part]
    paths = [_modules(part) for part in parts]
    innermost = max(reversed(paths), key=len, default=[])
    return ".".join(innermost) if innermost else next(iter(parts), name)


def _modules(scope: str) -> list[str]:
    """Names of the modules around an operator, outermost first; none of the network itself."""
    found = (re.match(r"(?:.*\.)?[A-Za-z0-9]+_(\w+)$", part) for part in scope.split("/")[1:])
    return [one[1] for one in found if one is not None]

"""Groups: the channels that must be cut together, where they live, and why some may not be cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.errors import RequestError, nearest

Indices = NDArray[np.int64]
Role = Literal["producer", "consumer", "attached"]
Kind = Literal["channels", "width", "heads", "groups", "blocks"]
"""What a unit is: a channel, a dimension of every attention head, a head, a group of a grouped
convolution or group norm, a whole residual branch."""
INEXACT = ("layer_norm", "group_norm")
"""Operators whose statistics change with a cut; groups under them are only free when allowed by name."""


def known_inexact(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order, each once.

    Raises
    ------
    RequestError
        One of them is no entry of `INEXACT`.
    """
    found = tuple(sorted(set(names)))
    for name in found:
        if name not in INEXACT:
            close = nearest(name, INEXACT)
            raise RequestError(
                f"'{name}' is no inexact operator that can be allowed",
                hint=f"did you mean '{close}'?" if close else f"one of: {', '.join(INEXACT)}",
            )
    return found


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something may not be cut, where in the network, and what would free it."""

    why: str
    operator: str = ""
    source: str = ""
    hint: str = ""
    inexact: str = ""
    """The entry of INEXACT that would free it, '' where nothing does."""

    @property
    def way_out(self) -> str:
        """What would free it; '' where nothing is known to."""
        return f"allow it with --allow-inexact {self.inexact}" if self.inexact else self.hint

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.operator, self.source) if part)
        return f"{self.why} ({place})" if place else self.why


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The part of one tensor axis that a group owns.

    `indices` has shape (units, width): row u lists the positions that go when unit u is cut.
    """

    tensor: str
    axis: int
    role: Role
    indices: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Units that live in the same slices; each unit is one indivisible cut.

    Units of one group never overlap; those of two groups may, as a head and a dimension of every head do.
    """

    id: str
    units: int
    slices: tuple[Slice, ...]
    locked: Reason | None = None
    kind: Kind = "channels"
    inexact: tuple[str, ...] = ()
    """Entries of INEXACT that were allowed for this group: the cut changes those operators' statistics."""
    names: tuple[str, ...] = ()
    """What each unit is called, where units have names (residual blocks)."""

    def of_role(self, role: Role) -> list[Slice]:
        """The slices in which the group plays `role`."""
        return [piece for piece in self.slices if piece.role == role]

"""Groups: the channels that must be cut together, where they live, and why some may not be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Role = Literal["producer", "consumer", "attached"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something may not be cut, where in the network, and what would free it."""

    why: str
    operator: str = ""
    source: str = ""
    hint: str = ""

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
    """Units that live in the same slices; each unit is one indivisible cut."""

    id: str
    units: int
    slices: tuple[Slice, ...]
    locked: Reason | None = None

    def of_role(self, role: Role) -> list[Slice]:
        """The slices in which the group plays `role`."""
        return [piece for piece in self.slices if piece.role == role]

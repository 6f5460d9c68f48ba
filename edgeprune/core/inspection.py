"""What can be cut in a network, and why the rest cannot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.group import Kind, Reason
from edgeprune.core.inputs import InputSize
from edgeprune.core.plan import Cost


class Lock(Document):
    """Why a group may not be cut, where in the network, and what would free it."""

    why: str
    operator: str
    source: str = Field(description="file.py:12 of the user's line; '' where the archive does not say")
    hint: str = Field(description="what would free it; '' where nothing is known to")

    @classmethod
    def of(cls, reason: Reason | None) -> Lock | None:
        """The lock a reason stands for."""
        if reason is None:
            return None
        return cls(why=reason.why, operator=reason.operator, source=reason.source, hint=reason.way_out)


class GroupRow(Document):
    """One group of units that go together."""

    id: str
    kind: Kind = Field(description="what a unit is; of blocks: one residual branch")
    units: int
    members: tuple[str, ...] = Field(description="parameters whose axes the group owns")
    names: tuple[str, ...] = Field(default=(), description="what the units are called, where they have names")
    macs: int = Field(description="MACs that would go if only one unit stayed; 0 of a locked group")
    parameters: int = Field(description="parameters that would go if only one unit stayed")
    locked: Lock | None = Field(default=None, description="why it may not be cut; null when it may")
    inexact: tuple[str, ...] = Field(
        default=(), description="operators that were allowed although a cut changes their statistics"
    )
    lanes: int = Field(
        default=0,
        description="groups of a grouped convolution each of which may keep different channels, as many as "
        "the others; 0 where there are none",
    )


class LayerRow(Document):
    """One layer that makes or reads channels."""

    path: str = Field(description="its place in the module hierarchy: layer4.0.conv1")
    operator: str
    source: str = Field(description="file.py:12 of the user's line")
    reads: int = Field(description="channels it reads; 0 where it reads none that can be followed")
    makes: int = Field(description="channels it makes or filters; 0 where it makes none")
    groups: tuple[str, ...] = Field(description="groups that the channels it makes belong to")


class Ceiling(Document):
    """The cost with one unit left in every free group, if some operators were allowed."""

    allow: tuple[str, ...]
    least: Cost


class Inspection(Document):
    """`edgeprune inspect`."""

    kind: Literal["inspection/1"] = "inspection/1"
    graph: str
    inputs: tuple[InputSize, ...]
    cost: Cost
    least: Cost = Field(description="with one unit left in every free group: the ceiling of any cut")
    beyond: Ceiling | None = Field(
        default=None, description="the ceiling if inexact operators were allowed; null where it is the same"
    )
    groups: tuple[GroupRow, ...] = Field(description="in the order the network runs")
    layers: tuple[LayerRow, ...] = Field(description="in the order the network runs")

"""What can be cut in a network, and why the rest cannot."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.plan import Cost


class GroupRow(Document):
    """One group of channels that go together."""

    id: str
    units: int
    members: tuple[str, ...] = Field(description="parameters whose axes the group owns")
    macs: int = Field(description="MACs that would go if only one unit stayed")
    parameters: int = Field(description="parameters that would go if only one unit stayed")
    locked: str = Field(default="", description="why it may not be cut; empty when it may")
    hint: str = Field(default="", description="what would free it")


class Inspection(Document):
    """`edgeprune inspect`."""

    kind: Literal["inspection/1"] = "inspection/1"
    graph: str
    input: tuple[int, ...]
    cost: Cost
    least: Cost = Field(description="with one unit left in every free group: the ceiling of any cut")
    groups: tuple[GroupRow, ...]

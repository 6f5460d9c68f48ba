"""Where a layer's channels come from, what they pass, who reads them, and what goes with one of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.group import Kind
from edgeprune.core.inputs import InputSize
from edgeprune.core.inspection import LayerRow, Lock


class Step(Document):
    """One operator on the way of the channels."""

    does: Literal["pass", "meet", "join", "read", "sum", "end"] = Field(
        description="pass: works on each; meet: combines them with the same channels of others, which are "
        "cut alike; join: puts others beside them; read: a layer with weights ends them; sum: a sum or "
        "product ends them; end: they end in another operator or the network's output"
    )
    operator: str
    layer: str = Field(description="the module it belongs to; '' where that is not known")
    source: str
    others: tuple[str, ...] = Field(default=(), description="layers that make what is met or joined")


class Membership(Document):
    """A group the channels belong to, and what goes when one unit goes."""

    group: str
    kind: Kind
    units: int
    locked: Lock | None
    inexact: tuple[str, ...] = ()
    macs: int = Field(description="MACs that go with one unit")
    parameters: dict[str, int] = Field(description="elements that go with one unit, by parameter")


class LayerExplanation(Document):
    """One layer."""

    layer: LayerRow
    sources: tuple[str, ...] = Field(description="layers that make what it reads")
    reads_groups: tuple[str, ...]
    groups: tuple[Membership, ...]
    steps: tuple[Step, ...] = Field(description="the way of the channels it makes, in the order it runs")
    branches: tuple[str, ...] = Field(description="residual branches it goes with when they are removed")


class Explanation(Document):
    """`edgeprune explain`."""

    kind: Literal["explanation/1"] = "explanation/1"
    graph: str
    inputs: tuple[InputSize, ...]
    asked: str
    layers: tuple[LayerExplanation, ...]

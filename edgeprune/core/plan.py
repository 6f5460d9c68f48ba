"""The plan: which units of which groups stay, tied to one graph, readable, editable, replayable."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgeprune.core.document import Document


class Cost(Document):
    """What a network costs for one input (batch of one)."""

    parameters: int = Field(description="elements of all parameters; buffers are not counted")
    macs: int = Field(description="multiply-accumulates of convolutions and matrix products")
    weight_bytes: int = Field(description="bytes of parameters and floating-point buffers as stored")
    peak_activation_bytes: int = Field(
        description="largest sum of activations alive at once, executed in graph order"
    )


class Cut(Document):
    """The units of one group that stay, in ascending order; the others go."""

    group: str
    units: int = Field(gt=0, description="units the group has before the cut")
    kept: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _kept_units_exist(self) -> Cut:
        if list(self.kept) != sorted(set(self.kept)):
            raise ValueError("kept must be ascending, each unit once")
        if self.kept[0] < 0 or self.kept[-1] >= self.units:
            raise ValueError(f"kept must lie in 0..{self.units - 1}")
        return self

    @property
    def removed(self) -> tuple[int, ...]:
        """The units that go."""
        kept = set(self.kept)
        return tuple(unit for unit in range(self.units) if unit not in kept)


class Plan(Document):
    """A decision that can be read, compared, edited and replayed; nothing is touched by making it."""

    kind: Literal["plan/1"] = "plan/1"
    graph: str = Field(description="fingerprint of the captured graph this plan belongs to")
    criterion: str
    budget: str = Field(description="the request this plan answers, in words")
    seed: int
    before: Cost
    after: Cost = Field(description="predicted; a fresh count after surgery must equal it")
    cuts: tuple[Cut, ...]
    locked: dict[str, str] = Field(
        default_factory=dict, description="groups the proof refused, with the reason"
    )

"""Fleets: many devices in groups, in which order they get a bundle, and what became of each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgeprune.core.destination import parse_destination
from edgeprune.core.document import Document
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.shipment import Shipment


class Group(Document):
    """Devices that are alike in what may go wrong."""

    name: str = Field(min_length=1)
    to: tuple[str, ...] = Field(min_length=1, description="as behind --to")
    python: str = Field(default="", description="a Python on these devices, as behind --python")


class Fleet(Document):
    """`--fleet devices.toml`: groups in their order; the next begins when the one before is done."""

    kind: Literal["fleet/1"] = "fleet/1"
    parallel: int = Field(default=4, ge=1, le=64, description="devices at a time")
    canary: int = Field(default=1, ge=0, description="devices of the first group that go alone, before all")
    failures: int = Field(default=0, ge=0, description="that may happen before no other device is begun")
    groups: tuple[Group, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _require_each_once(self) -> Fleet:
        seen: set[str] = set()
        for group in self.groups:
            for text in group.to:
                try:
                    shown = parse_destination(text).shown
                except EdgepruneError as error:
                    raise ValueError(f"group '{group.name}': {error.message}") from error
                if shown in seen:
                    raise ValueError(f"{shown} is there twice")
                seen.add(shown)
        return self

    def waves(self) -> list[list[tuple[Group, str]]]:
        """What is done before the next is begun: canaries, then group by group."""
        first = [(self.groups[0], text) for text in self.groups[0].to]
        rest = [[(group, text) for text in group.to] for group in self.groups[1:]]
        waves = [first[: self.canary], first[self.canary :], *rest]
        return [wave for wave in waves if wave]


class Visit(Document):
    """What became of one device."""

    to: str
    group: str
    outcome: Literal["shipped", "had it", "failed", "not begun"]
    why: str = ""
    hint: str = ""
    shipment: Shipment | None = None


class Rollout(Document):
    """`edgeprune ship --fleet`; the same command again goes on with what is left."""

    kind: Literal["rollout/1"] = "rollout/1"
    version: str
    visits: tuple[Visit, ...]
    seconds: float

    def failed(self) -> bool:
        """Whether a device is without the version."""
        return any(one.outcome in {"failed", "not begun"} for one in self.visits)

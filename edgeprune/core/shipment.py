"""Shipments: what became of a bundle on a device, and what a device's shelf holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.device_run import FileRun
from edgeprune.core.document import Document


class Shipment(Document):
    """`edgeprune ship` and `edgeprune rollback` to one device."""

    kind: Literal["shipment/1"] = "shipment/1"
    to: str
    version: str = Field(description="live now")
    before: str | None = Field(description="live before; null where there was none")
    uploaded_bytes: int = Field(description="0 where the version was there already")
    checked: FileRun | None = Field(description="the golden test on the device")
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float


class ShelfVersion(Document):
    """One version on a device."""

    name: str
    live: bool
    model: str = Field(default="", description="as its manifest calls it; '' where that cannot be read")
    file: str = ""
    precision: str = ""
    bytes: int = 0
    target: str = ""


class ShelfStatus(Document):
    """`edgeprune status`: the newest versions come first."""

    kind: Literal["shelf/1"] = "shelf/1"
    at: str
    live: str | None
    versions: tuple[ShelfVersion, ...]
    changing: str = Field(default="", description="who changes it at the moment")
    checked: FileRun | None = Field(default=None, description="the golden test of the live version")
    problem: str = Field(default="", description="what is wrong with the live version")

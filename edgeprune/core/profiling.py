"""What `edgeprune profile` measured, without a run around it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Artifact
from edgeprune.core.device_run import FileRun, MachineState
from edgeprune.core.document import Document
from edgeprune.core.report import Device, Latency
from edgeprune.core.survey import Survey


class Conditions(Document):
    """Under which the files were measured."""

    interpreter: str = Field(description="what ran the runner there, and why")
    python: str
    governor: str | None
    pinned_cores: tuple[int, ...]
    waited_s: float
    before: MachineState
    after: MachineState
    throttled: str


class ProfiledFile(Document):
    """One file and its latency on the device."""

    artifact: Artifact
    latency: Latency
    run: FileRun | None = Field(default=None, description="everything the device told of it")


class Profiling(Document):
    """`edgeprune profile FILE...`."""

    kind: Literal["profile/1"] = "profile/1"
    target: str
    at: str = Field(default="local", description="the device's address")
    at_hand: bool = Field(description="whether the device is recognised as the target")
    device: Device
    conditions: Conditions | None = None
    survey: Survey | None = Field(default=None, description="what the device says of itself")
    files: tuple[ProfiledFile, ...]

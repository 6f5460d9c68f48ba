"""What `edgeprune profile` measured, without a run around it."""

from __future__ import annotations

from typing import Literal

from edgeprune.core.artifact import Artifact
from edgeprune.core.document import Document
from edgeprune.core.report import Device, Latency


class ProfiledFile(Document):
    """One file and its latency on this machine."""

    artifact: Artifact
    latency: Latency


class Profiling(Document):
    """`edgeprune profile FILE...`."""

    kind: Literal["profile/1"] = "profile/1"
    target: str
    at_hand: bool
    device: Device
    files: tuple[ProfiledFile, ...]

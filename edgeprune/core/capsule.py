"""Capsules: folders that run Python and one runtime on a device, with nothing of it but its kernel."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError

Arch = Literal["aarch64", "armhf", "x86_64"]
CapsuleRuntime = Literal["litert", "onnxruntime", "tflite-runtime"]
CAPSULE_NAME = "capsule.json"


class CapsulePackage(Document):
    """A package that went into a capsule."""

    name: str
    version: str
    sha256: str


class Capsule(Document):
    """What a capsule holds (`capsule.json`, which lies inside)."""

    kind: Literal["capsule/1"] = "capsule/1"
    runtime: CapsuleRuntime
    arch: Arch
    python: str
    packages: tuple[CapsulePackage, ...]
    files: int
    bytes: int
    sha256: str = Field(description="of the folder as a tar: sorted, without times, owners and this file")


def check_pair(runtime: CapsuleRuntime, arch: Arch) -> None:
    """Refuse a runtime that is not published for an architecture.

    Raises
    ------
    RequestError
        With the reason.
    """
    if arch == "armhf" and runtime != "tflite-runtime":
        raise RequestError(
            f"no capsule of {runtime} for armhf: its makers publish no wheel for 32-bit Arm",
            hint="use --runtime tflite-runtime, or a 64-bit system on the device",
        )

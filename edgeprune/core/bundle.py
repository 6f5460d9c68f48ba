"""Bundles: what one file to ship holds, needs and promises, and who says so."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Artifact
from edgeprune.core.document import Document
from edgeprune.core.recipe import Preprocess

MANIFEST, SIGNATURE = "manifest.json", "signature.json"
CAPSULE = "capsule"
"""Folder of a bundle with a Python and a runtime, where it brings its own."""
LOADER = "edgeprune_device.py"
ID_LENGTH = 12


class BundleEntry(Document):
    """One file of a bundle."""

    path: str
    bytes: int = Field(ge=0)
    sha256: str
    executable: bool = False


class Golden(Document):
    """An input and the answer to it: a device that answers otherwise does not get the bundle."""

    inputs: str = Field(description=".npy, one input with its batch axis")
    outputs: str = Field(description=".npy, what the file answered where the bundle was made")
    tolerance: float = Field(gt=0, description="largest difference, over the answer's largest magnitude")


class Requirements(Document):
    """What a device must be."""

    system: str = Field(description="as `uname -s` prints it; empty fits any")
    machine: str = Field(description="as `uname -m` prints it")
    model: str = Field(default="", description="of the target's boards; another one is only a note")
    runtime: str = Field(description="that runs the file")
    runtime_version: str = Field(description="the one that gave the golden answer; another one is a note")
    threads: int = Field(gt=0, description="to run with")


class Bundle(Document):
    """`manifest.json` of a bundle, which its signature is over."""

    kind: Literal["bundle/1"] = "bundle/1"
    name: str = Field(description="of the model")
    edgeprune: str = Field(description="the version that made it")
    target: str
    artifact: Artifact
    requires: Requirements
    golden: Golden
    latency_budget_ms: float | None = Field(default=None, description="for the median on the device")
    labels: tuple[str, ...] = Field(default=(), description="class names in output order")
    preprocess: Preprocess = Preprocess()
    entries: tuple[BundleEntry, ...] = Field(description="every file but manifest and signature")

    def manifest(self) -> bytes:
        """The manifest's bytes."""
        return f"{self.to_json()}\n".encode()

    @property
    def id(self) -> str:
        """What names this version on a device: it follows from every byte of the content."""
        return hashlib.sha256(self.manifest()).hexdigest()[:ID_LENGTH]

    @property
    def bytes(self) -> int:
        """Size of everything in it."""
        return sum(one.bytes for one in self.entries)

    @property
    def has_capsule(self) -> bool:
        """Whether it brings its own Python and runtime."""
        return any(one.path == f"{CAPSULE}/py" for one in self.entries)


class Signature(Document):
    """`signature.json` of a bundle."""

    kind: Literal["signature/1"] = "signature/1"
    public_key: str = Field(pattern="^[0-9a-f]{64}$", description="Ed25519, raw, hexadecimal")
    signature: str = Field(pattern="^[0-9a-f]{128}$", description="over the kind, a zero byte, the manifest")

    @staticmethod
    def message(manifest: bytes) -> bytes:
        """What is signed: a signature of anything else can never pass for one of a bundle."""
        return b"edgeprune bundle/1\0" + manifest

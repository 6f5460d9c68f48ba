"""Assets: a bundle's file as an app carries it, described in words that need nothing of ours to be read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Format, Precision, Tensor
from edgeprune.core.document import Document
from edgeprune.core.recipe import Preprocess

ASSETS = "assets.json"


class RawTensor(Document):
    """Numbers as they lie in memory: little-endian, the last axis fastest, no header."""

    path: str
    shape: tuple[int, ...]
    dtype: str


class SelfTest(Document):
    """An input and the answer to it, so that an app can ask once whether its phone answers right."""

    inputs: RawTensor
    outputs: RawTensor
    tolerance: float = Field(gt=0, description="largest difference, over the answer's largest magnitude")


class Assets(Document):
    """`assets.json`, beside the files it names."""

    kind: Literal["assets/1"] = "assets/1"
    name: str = Field(description="of the model")
    version: str = Field(description="the bundle's id")
    signer: str = Field(description="fingerprint of the key that signed manifest.json")
    target: str
    path: str = Field(description="of the model's file")
    bytes: int = Field(ge=0)
    sha256: str
    format: Format
    precision: Precision
    runtime: str = Field(description="that gave the self-test's answer")
    runtime_version: str
    threads: int = Field(gt=0, description="to run with")
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...] = Field(default=(), description="class names in output order")
    preprocess: Preprocess = Field(description="what turns images into inputs, unless the file does it")
    self_test: SelfTest

"""Artifacts: files on disk with a hash, what goes in and comes out, and what they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from edgeprune.core.document import Document
from edgeprune.core.files import sha256

Format = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9-]*$")]
"""The name of the exporter that writes it: onnx, tflite, pt2, or one that a plug-in brings."""
Precision = Literal[
    "fp32", "fp16", "int8-static", "int8-dynamic", "int8-weight-only", "int8w-int16a", "int4-weight-only"
]
"""What weights and activations are; docs/quantization.md says what each runtime makes of them."""


class Tensor(Document):
    """One input or output of an artifact; a None size is free (the batch)."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Artifact(Document):
    """One deliverable file. `path` is relative to the folder of the document that holds it."""

    format: Format
    precision: Precision
    path: str
    bytes: int = Field(ge=0)
    sha256: str
    parent: str = Field(description="SHA-256 of the file this one was made from")
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    transposes: int | None = Field(
        default=None, description="operators left in the file that only reorder axes; null: not counted"
    )

    @classmethod
    def of_file(
        cls,
        path: Path,
        *,
        format: Format,
        precision: Precision,
        parent: str,
        inputs: tuple[Tensor, ...] = (),
        outputs: tuple[Tensor, ...] = (),
    ) -> Artifact:
        """Describe a finished file in the folder it lies in."""
        return cls(
            format=format,
            precision=precision,
            path=path.name,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            parent=parent,
            inputs=inputs,
            outputs=outputs,
        )

"""Contents: what a deliverable file says of itself, as `edgeprune inspect FILE` prints it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Format, Tensor
from edgeprune.core.document import Document


class Contents(Document):
    """Inputs, outputs, operators, weights and notes of one file."""

    kind: Literal["contents/1"] = "contents/1"
    path: str
    format: Format
    bytes: int = Field(ge=0)
    sha256: str
    made_for: str = Field(description="the oldest reader, as the file says it: 'opset 18', 'TFLite 1.14.0'")
    precision: str = Field(description="as noted when it was made; else by what most weights are")
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: dict[str, int] = Field(description="how many of each kind, the most frequent first")
    transposes: int = Field(ge=0, description="operators that only reorder axes")
    weights: dict[str, int] = Field(description="bytes of stored numbers per type, the most first")
    notes: dict[str, str] = Field(default_factory=dict, description="what was written in when it was made")

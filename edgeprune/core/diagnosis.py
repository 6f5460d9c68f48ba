"""Diagnoses: what stands in the way of measuring on a device, and what to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.survey import Survey


class Obstacle(Document):
    """One thing that stands in the way or could be better, and what to do."""

    matter: str
    next_step: str
    blocks: bool = Field(description="nothing can be measured before it is done")


class Diagnosis(Document):
    """`edgeprune device doctor`."""

    kind: Literal["diagnosis/1"] = "diagnosis/1"
    survey: Survey
    target: str | None
    fits: bool | None = Field(description="whether the device is recognised as the target")
    obstacles: tuple[Obstacle, ...]

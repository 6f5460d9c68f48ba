"""What came of carrying out a plan that was there before."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.plan import Plan
from edgeprune.core.report import Proof


class Application(Document):
    """`edgeprune apply`."""

    kind: Literal["application/1"] = "application/1"
    model: str = Field(description="the network the plan was carried out on")
    plan: Plan = Field(description="as it was carried out, with what stays of every tensor")
    proof: Proof
    files: tuple[str, ...] = Field(description="what was written")

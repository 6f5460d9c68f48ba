"""The request: everything a `compress` run was asked, so that it can be repeated and resumed."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.document import Document
from edgeprune.core.inputs import InputSize
from edgeprune.core.interface import Interface
from edgeprune.core.plan import Cost
from edgeprune.core.recipe import Preprocess
from edgeprune.core.recovery import Recovery
from edgeprune.core.size import part_of_way
from edgeprune.core.thinning import Thinning
from edgeprune.core.units import format_points

CONFIDENCE = 0.95
QUANTIZED_DROP = 1.0


class Budget(Document):
    """How small the network must become; several bounds hold together."""

    speedup: float | None = Field(
        default=None, gt=1, allow_inf_nan=False, description="MACs before / MACs after"
    )
    macs: int | None = Field(default=None, gt=0, description="MACs after, at most")
    parameters: int | None = Field(default=None, gt=0, description="parameters after, at most")
    size: int | None = Field(default=None, gt=0, description="bytes of the smallest file, at most")
    size_of: Precision | None = Field(default=None, description="the precision whose smallest file is meant")
    max_drop: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        description="points of accuracy that may be lost: the smallest network is searched",
    )
    confidence: float | None = Field(
        default=None, ge=0.5, lt=1, description="at which the drop is to be within its bound; default 0.95"
    )

    @property
    def certainty(self) -> float:
        """The confidence, said or not."""
        return self.confidence if self.confidence is not None else CONFIDENCE

    def part(self, before: Cost, share: float) -> Budget:
        """The bounds on MACs and parameters after a share of the way, in absolute figures."""
        macs = [int(before.macs / self.speedup)] if self.speedup is not None else []
        macs += [self.macs] if self.macs is not None else []
        return Budget(
            macs=part_of_way(before.macs, min(macs), share) if macs else None,
            parameters=self.parameters and part_of_way(before.parameters, self.parameters, share),
            size=self.size,
            size_of=self.size_of,
        )

    def words(self) -> str:
        """The budget as a short phrase."""
        parts = []
        if self.speedup is not None:
            parts.append(f">= {self.speedup:g}x fewer MACs")
        if self.macs is not None:
            parts.append(f"<= {self.macs} MACs")
        if self.parameters is not None:
            parts.append(f"<= {self.parameters} parameters")
        if self.size is not None:
            parts.append(f"<= {self.size} bytes{f' in {self.size_of}' if self.size_of else ''}")
        if self.max_drop is not None:
            parts.append(f"<= {format_points(self.max_drop)} lost at {100 * self.certainty:g} %")
        return ", ".join(parts)


class Images(Document):
    """How many images each purpose gets; None leaves it to the size of the dataset."""

    calibration: int | None = Field(default=None, gt=0, description="default: 2000, or 60 %")
    selection: int | None = Field(
        default=None, gt=0, description="default: 500, or 15 %; 5000, or 25 %, to judge a drop"
    )
    test: int | None = Field(default=None, gt=0, description="default: all test images")

    def counts(self, pool: int, *, judging: bool = False) -> tuple[int, int]:
        """Calibration and selection images to draw from a pool of that size.

        More for selection when they judge a bound: what they can show grows with their number.
        """
        calibration = self.calibration or max(1, min(2000, pool * 60 // 100))
        most = min(5000, pool * 25 // 100) if judging else min(500, pool * 15 // 100)
        return calibration, self.selection or max(1, most)


class Request(Document):
    """One `compress` request after recipe and options were put together."""

    kind: Literal["request/1"] = "request/1"
    model: str | None
    model_sha256: str
    arch: str | None = None
    arch_base: str = Field(default="", description="folder relative architecture paths start at")
    input: tuple[int, ...] | None = None
    data: str | None = None
    arch_sha256: str = Field(default="", description="of the architecture's Python file, where it is one")
    data_stamp: str = Field(default="", description="size and time of the data file, where it is one")
    data_base: str = Field(default="", description="folder relative data paths start at")
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = Preprocess()
    target: str
    target_sha256: str = Field(default="", description="of the target's facts: editing them is another run")
    version: str = Field(default="", description="of edgeprune: another version is another run")
    budget: Budget
    thinning: Thinning | None = Field(
        default=None, description="takes single connections away instead of channels"
    )
    criterion: str | None = Field(default=None, description="None: the default for the data given")
    images: Images = Images()
    rounds: int = Field(default=1, ge=1, description="in how many rounds the network is cut")
    epochs: int = Field(default=0, ge=0)
    recovery: Recovery = Recovery()
    formats: tuple[Format, ...] = ()
    interface: Interface = Interface()
    precisions: tuple[Precision, ...] = Field(default=(), description="of the files beside float32 ones")
    quantized_drop: float = Field(
        default=QUANTIZED_DROP,
        gt=0,
        le=100,
        description="points a calibrated integer file may lose against its float32 file",
    )
    seed: int = 0
    trust_pickle: bool = False
    allow_inexact: tuple[str, ...] = Field(
        default=(), description="operators under which groups are cut although exactness does not hold"
    )

    def fingerprint(self) -> str:
        """A hash of the question: equal for requests that must give the same run."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Calibration(Document):
    """The images that statistics are taken on, and how they are drawn."""

    data: str
    data_base: str = Field(default="", description="folder relative data paths start at")
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = Preprocess()
    images: int | None = Field(default=None, gt=0, description="default: 2000, or 60 %")
    seed: int = 0


class Look(Document):
    """One request to look at a network: what loading it needs, and what may be cut inexactly."""

    kind: Literal["look/1"] = "look/1"
    model: str | None
    arch: str | None = None
    arch_base: str = Field(default="", description="folder relative architecture paths start at")
    inputs: tuple[InputSize, ...] = ()
    trust_pickle: bool = False
    allow_inexact: tuple[str, ...] = ()

"""The report: what was made, what it costs, how well it answers and how fast, with its evidence."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, computed_field, model_validator

from edgeprune.core.advice import Advice
from edgeprune.core.alike import ALIKE_WORDS
from edgeprune.core.artifact import Artifact
from edgeprune.core.document import Document
from edgeprune.core.drop import Drop, DropClaim
from edgeprune.core.plan import Cost
from edgeprune.core.quantization import Quantization
from edgeprune.core.recovery import Augment
from edgeprune.core.search import Search
from edgeprune.core.size import SizeClaim
from edgeprune.core.timing import Timing
from edgeprune.core.zeros import Zeros


class Quality(Document):
    """Accuracy on the test split."""

    top1: float = Field(ge=0, le=100, description="percent of images answered correctly")
    images: int = Field(gt=0)
    interval: tuple[float, float] = Field(description="95 % Wilson interval of top1, percent")


class ClassDrop(Document):
    """One class before and after, on the test images of that class."""

    name: str
    drop: Drop
    p_value: float = Field(
        ge=0, le=1, description="McNemar's, corrected for the number of classes looked at (Holm)"
    )


class Qualities(Document):
    """Accuracy of the network before and after; null where no labelled data was given."""

    original: Quality | None
    shrunk: Quality | None
    drop: Drop | None = Field(default=None, description="from the original to the shrunk network")
    classes: tuple[ClassDrop, ...] = Field(default=(), description="in output order")
    worst: str = Field(default="", description="the class that loses most points; '' where none loses any")
    agreement: float | None = Field(
        default=None, description=f"without labels: percent of test images both networks answer {ALIKE_WORDS}"
    )
    agreement_interval: tuple[float, float] | None = Field(
        default=None, description="95 % Wilson interval of agreement, percent"
    )
    note: str = ""


class Device(Document):
    """Facts about the machine a latency was taken on."""

    name: str
    machine: str
    cpu: str
    cores: int
    governor: str | None
    clock_mhz: float | None
    temperature_c: float | None
    load_average: float | None = Field(description="over one minute, when measuring began")


class Latency(Document):
    """How long one inference takes: measured on `device`, predicted for it, or not known."""

    kind: Literal["measured", "predicted", "none"]
    device: str
    note: str = ""
    runtime: str = ""
    runtime_version: str = ""
    invalid: str = Field(default="", description="why the measurement is not to be believed")
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    timing: Timing | None = None


class Deviation(Document):
    """How an artifact's answers differ from the captured program's, on the same inputs."""

    images: int = Field(gt=0)
    max_abs: float | None = Field(
        description="largest absolute difference of any output element; null where one is not finite"
    )
    relative: float | None = Field(description="max_abs over the largest magnitude of the reference output")
    mean_abs: float | None = Field(default=None, description="mean absolute difference of output elements")
    cosine: float | None = Field(default=None, description="least cosine between two answers to one input")
    snr_db: float | None = Field(
        default=None, description="reference outputs over the difference to them, decibels; null if none"
    )


class Verdict(Document):
    """What verifying one artifact found."""

    path: str
    quality: Quality | None
    drop: Drop | None = Field(default=None, description="from the original network to this file")
    own_drop: Drop | None = Field(default=None, description="from the shrunk network to this file")
    agreement: float = Field(ge=0, le=100, description=f"percent of inputs answered {ALIKE_WORDS}")
    deviation: Deviation
    passed: bool
    why: str = Field(default="", description="what failed, when it did")


class Delivery(Document):
    """Files written by a stage, and why others could not be."""

    artifacts: tuple[Artifact, ...]
    failed: dict[str, str] = Field(default_factory=dict)


class Judgement(Document):
    """Everything `verify` found."""

    quality: Qualities
    claim: DropClaim | None = Field(default=None, description="of a bound on the drop")
    verdicts: tuple[Verdict, ...]


class Latencies(Document):
    """Everything `profile` measured, in the artifacts' order."""

    device: Device
    latencies: tuple[Latency, ...]


class OldRuntime(Document):
    """What tflite-runtime, which many boards have in place of LiteRT, makes of a file."""

    ships: bool | None = Field(description="may go to a device that has only that; null: not tried")
    why: str = Field(default="", description="why it may not, or why it was not tried")
    version: str = ""
    p50_ms: float | None = Field(default=None, description="of one inference there, on this machine")


class OldRuntimes(Document):
    """Everything that was tried with tflite-runtime, by path."""

    files: dict[str, OldRuntime]


class DeliveredArtifact(Artifact):
    """An artifact with everything that is known about it."""

    quality: Quality | None
    drop: Drop | None = Field(default=None, description="from the original network to this file")
    own_drop: Drop | None = Field(default=None, description="from the shrunk network to this file")
    agreement: float
    deviation: Deviation
    passed: bool
    why: str = ""
    latency: Latency = Field(description="on the target; kind 'none' when it is not at hand")
    latency_here: Latency | None = Field(
        default=None, description="on this machine, when that is not the target"
    )
    quantization: Quantization | None = Field(
        default=None, description="how an integer file with calibrated ranges was made"
    )
    deflated: int | None = Field(
        default=None, description="bytes after zlib at level 9, where connections went: zeros pack well"
    )
    tflite_runtime: OldRuntime | None = Field(
        default=None, description="of a TFLite file: whether it may go where only tflite-runtime is"
    )


class Baseline(Artifact):
    """The original network as a float32 file, timed in turns with the others."""

    deflated: int | None = Field(default=None, description="as of the delivered files")
    latency: Latency
    latency_here: Latency | None = None


class Costs(Document):
    """Cost of the network before and after."""

    before: Cost
    after: Cost


class ImageCounts(Document):
    """Images per purpose; the three sets share none."""

    calibration: int
    selection: int
    test: int


class Proof(Document):
    """How exactly the shrunk network equalled the original with the cut channels silenced."""

    precision: Literal["float64"] = "float64"
    inputs: int
    relative_error: float
    refused: dict[str, str] = Field(description="groups left whole because their proof failed")
    inexact: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="groups cut under operators whose statistics are now those of the kept channels: there "
        "the network equals the original in which the cut channels are left out of the statistics, not "
        "the original itself",
    )


class Compensation(Document):
    """What the refit did, judged on the selection images."""

    images: int
    refitted: int = Field(description="layers refitted by ridge regression")
    divergence_before: float = Field(description="relative squared output error before the refit")
    divergence_after: float
    kept: bool = Field(description="false when the refit did not help on the selection images")


Weights = Literal["start", "last", "averaged"]
"""Before training, after its last step, averaged over the last steps."""


class Finetuning(Document):
    """How the network was trained after the refit, and which of its weights were kept."""

    epochs: int
    images: int
    labelled: bool = Field(description="false where only the original's answers were learnt from")
    batch: int = Field(description="images per step, of all processes together")
    learning_rate: float
    augment: Augment = Field(description="what was done to the images")
    processes: int = Field(default=1, description="that trained together")
    precision: Literal["float32", "bfloat16"]
    losses: dict[Weights, float | None] = Field(
        description="on the selection images; null where an answer is not finite"
    )
    lost: int = Field(default=0, description="selection images that only the start answers right")
    gained: int = Field(default=0, description="selection images that only the trained network answers right")
    known: float | None = Field(
        default=None,
        description="points by which the original knows the selection images better than new ones; "
        "null where nothing hung on it",
    )
    kept: Weights = Field(
        description="the trained weights with the smaller loss; `start` where training lost more than that"
    )


class Thinned(Document):
    """What became of single connections; zeros are counted in the network as it was delivered."""

    budget: str
    rounds: int = Field(description="of taking away and training")
    weights: dict[str, int] = Field(description="connections each weight had")
    kept: dict[str, int] = Field(description="of these the ones that are not zero")
    parameters: int = Field(description="all parameters that are not zero, biases and norms included")
    units_gone: int = Field(description="units that nothing read any more, removed with the proof")
    whole: dict[str, str] = Field(default_factory=dict, description="weights left whole, with the reason")
    zeros: Zeros | None = Field(default=None, description="what they are worth on the target")
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _derive_again(cls, data: Any) -> Any:
        """Leave out the quotient that a written document carries: it follows from the counts."""
        return (
            {key: value for key, value in data.items() if key != "times"} if isinstance(data, dict) else data
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def times(self) -> float:
        """How many times fewer weights."""
        return round(sum(self.weights.values()) / max(1, sum(self.kept.values())), 4)


class Report(Document):
    """Everything a run found out (`report.json`)."""

    kind: Literal["report/1"] = "report/1"
    command: str
    seed: int
    versions: dict[str, str]
    model: str
    model_sha256: str
    target: str
    taken_at: str = Field(description="UTC, ISO 8601")
    device: Device = Field(description="the machine this run was made on")
    data: str | None
    labels: tuple[str, ...] = Field(default=(), description="class names in output order")
    images: ImageCounts | None
    criterion: str
    budget: str
    rounds: int = Field(default=1, description="in how many rounds the network was cut")
    cost: Costs
    groups: int
    locked: dict[str, str]
    proof: Proof
    compensation: Compensation | None
    finetuning: Finetuning | None = None
    thinned: Thinned | None = Field(default=None, description="where connections went instead of channels")
    quality: Qualities
    search: Search | None = Field(default=None, description="how the smallest network was searched for")
    claim: DropClaim | None = Field(default=None, description="the bound on the drop, on the test images")
    size: SizeClaim | None = Field(default=None, description="the bound on the smallest file")
    artifacts: tuple[DeliveredArtifact, ...]
    baseline: tuple[Baseline, ...] = Field(
        default=(), description="the original network in the same formats: what the others are compared with"
    )
    advice: tuple[Advice, ...] = Field(
        default=(), description="what static int8 was expected to give on the target, before it was made"
    )
    refused: dict[str, Quantization] = Field(
        default_factory=dict, description="integer files that no choice of operators kept to their bound"
    )
    broken: tuple[str, ...] = Field(default=(), description="bounds that no integer file kept to")
    warnings: tuple[str, ...] = ()
    timing_s: dict[str, float] = Field(description="wall time per stage, seconds")

    def failures(self) -> list[str]:
        """Files that failed verification, one line each."""
        return [f"{one.path}: {one.why}" for one in self.artifacts if not one.passed]

    def unmet(self) -> list[str]:
        """Bounds that the finished network does not keep to, one line each."""
        claims = (self.claim, self.size)
        return [*(why for claim in claims if claim is not None for why in claim.unmet()), *self.broken]

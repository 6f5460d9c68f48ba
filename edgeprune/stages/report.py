"""Report: everything the run found out, in one document."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from edgeprune.core.advice import Advice
from edgeprune.core.artifact import Artifact
from edgeprune.core.group import Group
from edgeprune.core.plan import Plan
from edgeprune.core.quantization import Quantized
from edgeprune.core.report import (
    Baseline,
    Compensation,
    Costs,
    DeliveredArtifact,
    Finetuning,
    ImageCounts,
    Judgement,
    Latencies,
    Latency,
    OldRuntime,
    Proof,
    Report,
    Thinned,
)
from edgeprune.core.request import Request
from edgeprune.core.samples import Splits
from edgeprune.core.search import Search
from edgeprune.core.size import SizeClaim
from edgeprune.core.target import Target

_PACKAGES = (
    "edgeprune torch torchvision onnx onnxscript onnxruntime litert-torch ai-edge-quantizer "
    "ai-edge-litert statsmodels numpy"
).split()

_LOW_AGREEMENT = 95.0
"""Percent; the int8 files of docs/benchmarks.md stay above 98."""
_MUCH = 0.5
"""Points that a file may lose by its precision without a warning; those of docs/benchmarks.md lose less."""
_ANOTHER = 95.0
"""Percent of the answers: a cut that keeps fewer is named, as it changes more than an integer file may."""

_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What the stages gave, to be reported."""

    request: Request
    target: Target
    criterion: str
    groups: Sequence[Group]
    plan: Plan
    proof: Proof
    compensation: Compensation | None
    finetuning: Finetuning | None
    splits: Splits | None
    artifacts: Sequence[Artifact]
    baselines: Sequence[Artifact]
    failed: dict[str, str]
    judgement: Judgement
    latencies: Latencies
    seconds: dict[str, float]
    search: Search | None = None
    size: SizeClaim | None = None
    thinned: Thinned | None = None
    note: str = ""
    """What a reader must know of the ranking."""
    quantized: Quantized = field(default_factory=lambda: Quantized(artifacts=()))
    advice: Sequence[Advice] = ()
    deflated: Mapping[str, int] = field(default_factory=dict)
    """Bytes after packing by path, where connections went."""
    old_runtimes: Mapping[str, OldRuntime] = field(default_factory=dict)
    """What tflite-runtime makes of TFLite files, by path."""


def report(found: Findings) -> Report:
    """The report document."""
    at_hand = found.target.at_hand()
    latencies = dict(zip([*found.artifacts, *found.baselines], found.latencies.latencies, strict=True))
    delivered = tuple(_deliver(artifact, found, latencies[artifact], at_hand) for artifact in found.artifacts)
    baselines = tuple(
        Baseline(
            **one.model_dump(),
            **_latencies(latencies[one], found.target, at_hand),
            deflated=found.deflated.get(one.path),
        )
        for one in found.baselines
    )
    return Report(
        command=_command(),
        seed=found.request.seed,
        versions={"python": python_version(), **_versions()},
        model=found.request.model or "module",
        model_sha256=found.request.model_sha256,
        target=found.target.name,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=found.latencies.device,
        data=found.request.data,
        labels=found.request.labels,
        images=_counts(found.splits),
        criterion=found.criterion,
        budget=found.plan.budget,
        rounds=found.request.rounds,
        cost=Costs(before=found.plan.before, after=found.plan.after),
        groups=len(found.groups),
        locked={group.id: str(group.locked) for group in found.groups if group.locked},
        proof=found.proof,
        compensation=found.compensation,
        finetuning=found.finetuning,
        thinned=found.thinned,
        quality=found.judgement.quality,
        search=found.search,
        claim=found.judgement.claim,
        size=found.size,
        artifacts=delivered,
        baseline=baselines,
        advice=tuple(_weighed(one, delivered, at_hand) for one in found.advice),
        refused={path: how for path, how in found.quantized.made.items() if not how.holds},
        broken=found.quantized.unmet,
        warnings=tuple(_warnings(found, delivered, baselines)),
        timing_s=found.seconds,
    )


def _deliver(artifact: Artifact, found: Findings, latency: Latency, at_hand: bool) -> DeliveredArtifact:
    verdict = next(one for one in found.judgement.verdicts if one.path == artifact.path)
    return DeliveredArtifact(
        **artifact.model_dump(),
        quality=verdict.quality,
        drop=verdict.drop,
        own_drop=verdict.own_drop,
        agreement=verdict.agreement,
        deviation=verdict.deviation,
        passed=verdict.passed,
        why=verdict.why,
        **_latencies(latency, found.target, at_hand),
        quantization=found.quantized.made.get(artifact.path),
        deflated=found.deflated.get(artifact.path),
        tflite_runtime=found.old_runtimes.get(artifact.path),
    )


def _weighed(advice: Advice, delivered: Sequence[DeliveredArtifact], at_hand: bool) -> Advice:
    """The advice beside what was measured; a figure of another machine says nothing about the target."""
    p50 = {one.precision: _p50(one) for one in delivered if one.format == advice.format}
    full, small = p50.get("fp32"), p50.get("int8-static")
    if not at_hand or full is None or small is None:
        return advice
    return advice.model_copy(update={"measured": round(full / small, 4)})


def _latencies(latency: Latency, target: Target, at_hand: bool) -> dict[str, Latency | None]:
    """A measurement on this machine is the target's only when this machine is the target."""
    if at_hand:
        return {"latency": latency, "latency_here": None}
    unknown = Latency(kind="none", device=target.name, note="not measured on the device")
    return {"latency": unknown, "latency_here": latency}


def _counts(splits: Splits | None) -> ImageCounts | None:
    if splits is None:
        return None
    return ImageCounts(
        calibration=len(splits.calibration), selection=len(splits.selection), test=len(splits.test)
    )


def _warnings(
    found: Findings, delivered: Sequence[DeliveredArtifact], baselines: Sequence[Baseline]
) -> list[str]:
    """What a reader must not overlook."""
    lines = [f"{name} could not be made: {why}" for name, why in found.failed.items()]
    lines += found.quantized.doubts
    if not found.plan.cuts and found.thinned is None:
        lines.append("nothing was cut: the network meets the budget as it is")
    lines += [found.note] if found.note else []
    lines += [f"group {name} was left whole: {why}" for name, why in found.proof.refused.items()]
    lines += _thinning_warnings(found.thinned) if found.thinned is not None else []
    compensation = found.compensation
    if compensation is not None and not compensation.kept and compensation.divergence_before > 0:
        lines.append("the refit did not help on the selection images and was not kept")
    if compensation is not None and found.splits and compensation.images < len(found.splits.calibration):
        lines.append(f"the refit used {compensation.images} images, all that fit in memory")
    lines += [
        f"class {one.name} loses {one.drop.points:.2f} points, more than chance explains "
        f"(p = {one.p_value:.2g} after Holm)"
        for one in found.judgement.quality.classes
        if one.drop.points > 0 and one.p_value < _SIGNIFICANT
    ]
    agreement = found.judgement.quality.agreement
    if agreement is not None and agreement < _ANOTHER and found.judgement.claim is None:
        less = "cut less, or say with --max-drop how many answers may change"
        lines.append(
            f"the shrunk network answers like the original on {agreement:.1f} % of the test images only: "
            + (less if found.thinned is None else "leave more connections with --sparsity")
        )
    lines += _claims(found, delivered)
    timed: list[DeliveredArtifact | Baseline] = [*delivered, *baselines]
    measured = {one.path: one.latency_here or one.latency for one in timed}
    lines += [
        f"{path}: its latency is INVALID: {one.invalid}" for path, one in measured.items() if one.invalid
    ]
    if found.finetuning is not None and found.finetuning.kept == "start":
        lines.append("training did not help on the selection images and was not kept")
    lines += [
        f"{one.path} must not go to a device that has only tflite-runtime: {one.tflite_runtime.why}"
        for one in delivered
        if one.tflite_runtime is not None and one.tflite_runtime.ships is False
    ]
    lines += _transposes(found, delivered)
    originals = {one.format: one for one in baselines}
    floats = {one.format: one for one in delivered if one.precision == "fp32"}
    for format, one in floats.items():
        if format in originals:
            lines += _not_faster(one, originals[format], f"the original's {format} file")
    for one in delivered:
        base = floats.get(one.format)
        if base is not None and one is not base:
            lines += _against_float(one, base)
    return lines


def _claims(found: Findings, delivered: Sequence[DeliveredArtifact]) -> list[str]:
    """What is not certain of the bound on the drop: for the network, and for each file by itself."""
    claim = found.judgement.claim
    if claim is None:
        return []
    lines = []
    if claim.verdict == "undecided":
        lines.append(
            f"{claim.words()}: the test images show neither that it is nor that it is not "
            f"({100 * claim.certainty:.1f} %)"
        )
    for one in delivered:
        if one.drop is not None and claim.model_copy(update={"drop": one.drop}).verdict == "no":
            lines.append(
                f"{one.path} loses {one.drop.points:.2f} points, more than the {claim.at_most:g} allowed"
            )
    return lines


def _transposes(found: Findings, delivered: Sequence[DeliveredArtifact]) -> list[str]:
    """Axes that are still reordered in files for which channels last were asked, once per format."""
    if found.request.interface.layout == "nchw":
        return []
    floats = [one for one in delivered if one.precision == "fp32" and one.format == "tflite"]
    return [
        f"{one.path} still reorders axes inside ({one.transposes} TRANSPOSE); `edgeprune inspect` lists more"
        for one in floats
        if one.transposes
    ]


def _thinning_warnings(thinned: Thinned) -> Iterator[str]:
    if thinned.note:
        yield thinned.note
    if thinned.whole:
        (name, why), more = next(iter(thinned.whole.items())), len(thinned.whole) - 1
        yield f"{name} was left whole: {why}" + (f" (and {more} more)" if more else "")


def _against_float(one: DeliveredArtifact, base: DeliveredArtifact) -> list[str]:
    lines: list[str] = []
    if one.agreement < _LOW_AGREEMENT:
        lines.append(f"{one.path} agrees with the shrunk network on {one.agreement:.1f} % of the inputs only")
    if one.own_drop is not None and one.own_drop.points > _MUCH:
        low, high = one.own_drop.interval
        lines.append(
            f"{one.path} loses {one.own_drop.points:.2f} points [{low:.2f}, {high:.2f}] against float32"
        )
    if one.precision.startswith("int8"):
        lines += _not_faster(one, base, base.path)
    return lines


def _not_faster(one: DeliveredArtifact, base: DeliveredArtifact | Baseline, name: str) -> list[str]:
    slow, fast = _p50(one), _p50(base)
    if slow is None or fast is None or slow < fast:
        return []
    return [f"{one.path} is not faster than {name} here: {slow:.2f} against {fast:.2f} ms"]


def _p50(one: DeliveredArtifact | Baseline) -> float | None:
    latency = one.latency_here or one.latency
    return latency.p50_ms


def _command() -> str:
    """The line that was typed; a program that uses the API is named instead."""
    program = Path(sys.argv[0]).name
    return shlex.join(["edgeprune" if program == "__main__.py" else program, *sys.argv[1:]])


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

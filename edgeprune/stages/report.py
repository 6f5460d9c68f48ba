"""Report: everything the run found out, in one document."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from edgeprune.core.artifact import Artifact
from edgeprune.core.group import Group
from edgeprune.core.plan import Plan
from edgeprune.core.report import (
    Compensation,
    Costs,
    DeliveredArtifact,
    ImageCounts,
    Judgement,
    Latencies,
    Latency,
    Proof,
    Quality,
    Report,
)
from edgeprune.core.request import Request
from edgeprune.core.samples import Splits
from edgeprune.core.target import Target

_PACKAGES = (
    "edgeprune torch torchvision onnx onnxscript onnxruntime litert-torch ai-edge-quantizer "
    "ai-edge-litert statsmodels numpy"
).split()


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
    splits: Splits | None
    artifacts: Sequence[Artifact]
    failed: dict[str, str]
    judgement: Judgement
    latencies: Latencies
    seconds: dict[str, float]


def report(found: Findings) -> Report:
    """The report document."""
    at_hand = found.target.at_hand()
    delivered = tuple(
        _deliver(artifact, found.judgement, latency, found.target, at_hand)
        for artifact, latency in zip(found.artifacts, found.latencies.latencies, strict=True)
    )
    return Report(
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
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
        cost=Costs(before=found.plan.before, after=found.plan.after),
        groups=len(found.groups),
        locked={group.id: str(group.locked) for group in found.groups if group.locked},
        proof=found.proof,
        compensation=found.compensation,
        quality=found.judgement.quality,
        artifacts=delivered,
        warnings=tuple(_warnings(found, delivered)),
        timing_s=found.seconds,
    )


def _deliver(
    artifact: Artifact, judgement: Judgement, latency: Latency, target: Target, at_hand: bool
) -> DeliveredArtifact:
    verdict = next(one for one in judgement.verdicts if one.path == artifact.path)
    unknown = Latency(kind="none", device=target.name, note="not measured on the device")
    return DeliveredArtifact(
        **artifact.model_dump(),
        quality=verdict.quality,
        agreement=verdict.agreement,
        deviation=verdict.deviation,
        passed=verdict.passed,
        why=verdict.why,
        latency=latency if at_hand else unknown,
        latency_here=None if at_hand else latency,
    )


def _counts(splits: Splits | None) -> ImageCounts | None:
    if splits is None:
        return None
    return ImageCounts(
        calibration=len(splits.calibration), selection=len(splits.selection), test=len(splits.test)
    )


def _warnings(found: Findings, delivered: Sequence[DeliveredArtifact]) -> list[str]:
    """What a reader must not overlook."""
    lines = [f"{name} could not be made: {why}" for name, why in found.failed.items()]
    lines += [f"group {name} was left whole: {why}" for name, why in found.proof.refused.items()]
    compensation = found.compensation
    if compensation is not None and not compensation.kept:
        lines.append("the refit did not help on the selection images and was not kept")
    if compensation is not None and found.splits and compensation.images < len(found.splits.calibration):
        lines.append(f"the refit used {compensation.images} images, all that fit in memory")
    floats = {one.format: one for one in delivered if one.precision == "fp32"}
    for one in delivered:
        base = floats.get(one.format)
        if base is not None and one is not base:
            lines += _against_float(one, base, found.judgement.quality.shrunk)
    return lines


def _against_float(one: DeliveredArtifact, base: DeliveredArtifact, shrunk: Quality | None) -> list[str]:
    lines = []
    if one.quality and shrunk and one.quality.top1 < shrunk.top1 - 0.5:
        lines.append(f"{one.path} loses {shrunk.top1 - one.quality.top1:.2f} points against float32")
    if one.precision.startswith("int8"):
        slow, fast = _p50(one), _p50(base)
        if slow is not None and fast is not None and slow >= fast:
            lines.append(f"{one.path} is not faster than {base.path} here: {slow:.2f} against {fast:.2f} ms")
    return lines


def _p50(one: DeliveredArtifact) -> float | None:
    latency = one.latency_here or one.latency
    return latency.p50_ms


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

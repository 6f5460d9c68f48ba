"""From the network to the files that are delivered: export > quantize > verify > describe > profile.

The original goes along as float32 files, kept out of sight: only what they weigh and how long they take is
told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeprune.core.artifact import Artifact
from edgeprune.core.files import deflated_bytes, sha256
from edgeprune.core.journal import Documents, hidden
from edgeprune.core.plan import PLAN
from edgeprune.core.quantization import Quantized
from edgeprune.core.report import (
    Delivery,
    Judgement,
    Latencies,
    OldRuntime,
    OldRuntimes,
    Qualities,
    Verdict,
)
from edgeprune.core.size import SizeBound
from edgeprune.graph.capture import Program
from edgeprune.pipeline.cutting import Made
from edgeprune.pipeline.job import Job
from edgeprune.pipeline.kept import MODEL, DeliveryStore, QuantizedStore
from edgeprune.pipeline.quantizing import guard_of, quantized
from edgeprune.pipeline.weighing import weighed
from edgeprune.stages.describe import as_described, describe, notes_of
from edgeprune.stages.export import export
from edgeprune.stages.locate import located
from edgeprune.stages.old_runtime import try_old_runtime
from edgeprune.stages.profile import describe_device, profile
from edgeprune.stages.verify import claimed, compare_answers, judge, verify

_ORIGINAL = hidden("original")


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """All files of a run, and what was found out about them."""

    artifacts: tuple[Artifact, ...]
    baseline: Delivery
    failed: dict[str, str]
    quantized: Quantized
    judgement: Judgement
    latencies: Latencies
    old_runtimes: dict[str, OldRuntime]

    def deflated(self, folder: Path) -> dict[str, int]:
        """Bytes of every file after packing, by path."""
        files = (*self.artifacts, *self.baseline.artifacts)
        return {one.path: deflated_bytes(folder / one.path) for one in files}


def delivered(job: Job, made: Made, final: Program) -> Delivered:
    """The files of the network as it was saved, every step a stage of the run."""
    run, folder = job.run, job.run.folder
    baseline = _baseline(job)
    exported = run.stage("export", lambda: _exported(job, final), DeliveryStore("exported.json"))
    smaller = run.stage(
        "quantize",
        lambda: quantized(
            job.original, final, exported, job.request, job.target, job.splits, folder, job.progress
        ),
        QuantizedStore(),
    )
    artifacts = (*exported.artifacts, *smaller.artifacts)
    judgement = run.stage(
        "verify", lambda: _judged(job, final, artifacts), Documents(Judgement, hidden("judgement.json"))
    )
    artifacts = run.stage(
        "describe", lambda: _described(job, artifacts, judgement), DeliveryStore("described.json")
    ).artifacts
    old_runtimes = run.stage(
        "tflite-runtime",
        lambda: OldRuntimes(files=try_old_runtime(artifacts, folder, job.target, progress=job.progress)),
        Documents(OldRuntimes, hidden("tflite-runtime.json")),
    )
    macs = {one.path: made.plan.after.macs for one in artifacts}
    macs |= {one.path: made.plan.before.macs for one in baseline.artifacts}
    latencies = run.stage(
        "profile",
        lambda: _timed(job, (*artifacts, *baseline.artifacts), macs),
        Documents(Latencies, hidden("latencies.json")),
    )
    return Delivered(
        artifacts=artifacts,
        baseline=baseline,
        failed={**exported.failed, **smaller.failed},
        quantized=smaller,
        judgement=judgement,
        latencies=latencies,
        old_runtimes=old_runtimes.files,
    )


def weight_bound(job: Job) -> SizeBound:
    """What a bound on the smallest file leaves for weights, by the original's own files."""
    whole = _baseline(job)
    return job.run.stage("size", lambda: _weighed(job, whole), Documents(SizeBound, hidden("size.json")))


def _baseline(job: Job) -> Delivery:
    return job.run.stage("baseline", lambda: _exported_original(job), DeliveryStore("baseline.json"))


def _exported(job: Job, final: Program) -> Delivery:
    folder = job.run.folder
    artifacts, failed = _written(job, final, folder, sha256(folder / MODEL), "export")
    return Delivery(artifacts=tuple(artifacts), failed=failed)


def _exported_original(job: Job) -> Delivery:
    folder = job.run.folder / _ORIGINAL
    artifacts, failed = _written(job, job.original, folder, job.request.model_sha256, "export the original")
    moved = (one.model_copy(update={"path": f"{_ORIGINAL}/{one.path}"}) for one in artifacts)
    return Delivery(artifacts=tuple(moved), failed=failed)


def _written(
    job: Job, program: Program, folder: Path, parent: str, name: str
) -> tuple[list[Artifact], dict[str, str]]:
    """A program in every format that was asked for, as the request and the target want the files."""
    return export(
        program,
        job.request.formats,
        folder,
        parent=parent,
        interface=job.request.interface,
        preprocess=job.request.preprocess,
        versions=job.target.oldest,
        name=name,
        progress=job.progress,
    )


def _weighed(job: Job, whole: Delivery) -> SizeBound:
    request, folder = job.request, job.run.folder
    job.progress.start("weigh the original")
    calibration = job.splits.calibration.for_files(request.interface) if job.splits else None
    precisions = request.precisions or job.target.precisions
    noted = partial(as_described, folder=folder / _ORIGINAL, request=request)
    bound = weighed(job.coupling, whole.artifacts, precisions, calibration, request.budget, folder, noted)
    job.progress.finish()
    return bound


def _judged(job: Job, final: Program, artifacts: Sequence[Artifact]) -> Judgement:
    """How networks and files answer the test images; without data only whether files answer alike."""
    asked = partial(
        verify,
        final,
        artifacts,
        job.run.folder,
        job.target,
        interface=job.request.interface,
        preprocess=job.request.preprocess,
        progress=job.progress,
    )
    if job.splits is None:
        quality = Qualities(original=None, shrunk=None, note="data-free: no accuracy is claimed")
        return Judgement(quality=quality, verdicts=_located(job, final, artifacts, asked(None)))
    test = job.splits.test
    _, before = judge(job.original, test, job.progress, "original")
    _, after = judge(final, test, job.progress, "shrunk network")
    guard = guard_of(job.request, labelled=test.labels is not None)
    verdicts = asked(test, reference=after, original=before, guard=guard)
    return Judgement(
        quality=compare_answers(before, after, test.labels, job.request.labels),
        claim=claimed(before, after, test.labels, job.request.budget),
        verdicts=_located(job, final, artifacts, verdicts),
    )


def _located(
    job: Job, final: Program, artifacts: Sequence[Artifact], verdicts: Sequence[Verdict]
) -> tuple[Verdict, ...]:
    """The verdicts, each failed one with the operator at fault; of files that are fed as the network is."""
    if not job.request.interface.plain:
        return tuple(verdicts)
    one = final.example(1).numpy()
    return tuple(
        located(verdict, final, artifact, job.run.folder, job.target, one)
        for verdict, artifact in zip(verdicts, artifacts, strict=True)
    )


def _described(job: Job, artifacts: Sequence[Artifact], judgement: Judgement) -> Delivery:
    folder = job.run.folder
    notes = notes_of(job.request, folder / PLAN)
    return Delivery(artifacts=tuple(describe(artifacts, folder, notes, judgement.verdicts)))


def _timed(job: Job, artifacts: Sequence[Artifact], macs: dict[str, int]) -> Latencies:
    device = describe_device()
    latencies = profile(artifacts, job.run.folder, job.target, macs=macs, progress=job.progress)
    return Latencies(device=device, latencies=tuple(latencies))

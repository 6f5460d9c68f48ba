"""The main job: load > screen > plan > shrink > compensate > finetune > export > ... > report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeprune.core.artifact import Artifact, Format, Precision
from edgeprune.core.errors import StorageError
from edgeprune.core.files import deflated_bytes, sha256, storage_errors
from edgeprune.core.interface import Interface
from edgeprune.core.journal import JOURNAL, Documents, Run, hidden
from edgeprune.core.plan import PLAN
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.recovery import Recovery
from edgeprune.core.report import Delivery, Judgement, Latencies, OldRuntimes, Qualities, Report, Verdict
from edgeprune.core.request import QUANTIZED_DROP, Budget, Images, Request
from edgeprune.core.samples import Split, Splits
from edgeprune.core.size import SizeBound
from edgeprune.core.target import Target, find_target
from edgeprune.core.thinning import Thinning
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.processes import together
from edgeprune.graph.stored import Programs
from edgeprune.pipeline.cutting import cut_network
from edgeprune.pipeline.job import Job
from edgeprune.pipeline.kept import DeliveryStore, QuantizedStore
from edgeprune.pipeline.quantizing import guard_of, quantized
from edgeprune.pipeline.search import require_enough
from edgeprune.pipeline.shared_run import SharedRun
from edgeprune.pipeline.thin_out import default_connection_criterion, thin_out
from edgeprune.pipeline.weighing import size_claim, weighed
from edgeprune.stages.advise import advise
from edgeprune.stages.ask import ask
from edgeprune.stages.describe import as_described, describe, notes_of
from edgeprune.stages.draw import draw, image_size
from edgeprune.stages.export import export
from edgeprune.stages.load import load, read_weights, require_single
from edgeprune.stages.locate import located
from edgeprune.stages.old_runtime import try_old_runtime
from edgeprune.stages.profile import describe_device, profile
from edgeprune.stages.report import Findings, report
from edgeprune.stages.retrain import retrain
from edgeprune.stages.verify import claimed, compare_answers, judge, verify

if TYPE_CHECKING:
    from torch import nn

MODEL = "model.pt2"
"""The shrunk network in the run folder."""
REPORT = "report.json"
DEFAULT_CRITERION = "screening"
UNLABELLED_CRITERION = "refit"
DATA_FREE_CRITERION = "l2"


def compress(
    model: str | Path | nn.Module,
    *,
    target: str | Target,
    arch: str | None = None,
    input: tuple[int, ...] | None = None,
    data: str | None = None,
    budget: Budget | None = None,
    thinning: Thinning | None = None,
    criterion: str | None = None,
    images: Images | None = None,
    rounds: int = 1,
    epochs: int = 0,
    recovery: Recovery | None = None,
    formats: tuple[Format, ...] = (),
    interface: Interface | None = None,
    precisions: tuple[Precision, ...] = (),
    quantized_drop: float = QUANTIZED_DROP,
    out: str | Path | None = None,
    seed: int = 0,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
    progress: Progress | None = None,
) -> Report:
    """From a trained model to measured files in a run folder.

    Parameters
    ----------
    model : path or module
        A `.pt2` archive, a state dict or checkpoint (with `arch`), or a module in memory.
    target : str or Target
        Name or TOML path of a target, or a target.
    input : tuple of int, optional
        Input size without the batch, where neither archive, recipe nor data say it.
    budget : Budget, optional
        Default: half the MACs.
    thinning : Thinning, optional
        Takes single connections away instead of channels; with it there is no budget, and its own `rounds`.
    rounds : int
        Cut in so many rounds, each of which screens what the one before left.
    epochs, recovery : int, Recovery, optional
        How long and how to train after the refit, or the command that does.
    allow_inexact : of str, optional
        Operators (`layer_norm`, `group_norm`) under which channels are cut although exactness does not
        hold there.
    precisions : of Precision, optional
        Default: those of the target.
    quantized_drop : float
        Points that an integer file with calibrated ranges may lose against its float32 file before operators
        go back to float32; with `max_drop` in the budget, that bound holds for the files instead.
    interface : Interface, optional
        What the files take and answer, where that is to differ from the network: camera frames, classes.
    out : path, optional
        The run folder; default `runs/<model>-<target>`. A run of the same request is continued, an
        unfinished one of another request makes room, a finished one is never touched.

    Returns
    -------
    The report that was written to `report.json`. Files that failed verification are listed by
    `Report.failures()`.

    Raises
    ------
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    chosen = find_target(target) if isinstance(target, str) else target
    source = Path(model) if isinstance(model, (str, Path)) else model

    def asked() -> Request:
        return ask(
            source,
            chosen,
            arch=arch,
            input=input,
            data=data,
            budget=budget,
            thinning=thinning,
            criterion=criterion,
            images=images,
            rounds=rounds,
            epochs=epochs,
            recovery=recovery,
            formats=formats,
            interface=interface,
            precisions=precisions,
            quantized_drop=quantized_drop,
            seed=seed,
            trust_pickle=trust_pickle,
            allow_inexact=allow_inexact,
        )

    with together() as team:
        request = team.told(asked)
        folder = Path(out) if out is not None else default_folder(request)
        run = _opened(source, folder, request) if team.first else None
        torch.manual_seed(seed)
        return _run(source, request, chosen, SharedRun(run, folder, team), progress or Silent())


def default_criterion(calibration: Split | None) -> str:
    """How units are ranked when nothing is said: by what the data can tell."""
    if calibration is None:
        return DATA_FREE_CRITERION
    return UNLABELLED_CRITERION if calibration.labels is None else DEFAULT_CRITERION


def default_folder(request: Request) -> Path:
    """Where a run goes when nothing is said: `runs/<model>-<target>`."""
    return Path("runs") / f"{request.model or 'module'}-{request.target}"


def _opened(source: Path | nn.Module, folder: Path, request: Request) -> Run:
    """The run folder, ready; a request that was corrected must not trip over its first attempt."""
    if isinstance(source, Path) and source.resolve() == (folder / MODEL).resolve():
        raise StorageError(f"{source} would be overwritten", hint="choose another folder with --out")
    with storage_errors(folder):
        (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
    try:
        return Run(folder, request)
    except StorageError:
        if (folder / REPORT).exists():
            raise
        (folder / JOURNAL / "journal.json").unlink()
        return Run(folder, request)


def _run(
    source: Path | nn.Module, request: Request, target: Target, run: SharedRun, progress: Progress
) -> Report:
    """The poem: every line is one stage, finished stages are read back from the run folder."""
    folder = run.folder
    original = run.stage(
        "load", lambda: _load(source, request, progress), Programs(hidden("original.pt2"), sources=True)
    )
    coupling = couple(original, request.allow_inexact)
    splits = draw(request, original)
    if splits is not None:
        require_enough(request.budget, splits.selection)
    ranking = default_criterion if request.thinning is None else default_connection_criterion
    criterion = request.criterion or ranking(splits.calibration if splits else None)

    def baseline_stage() -> Delivery:
        return run.stage(
            "baseline",
            lambda: _baseline(original, request, target, folder, progress),
            DeliveryStore("baseline.json"),
        )

    size = None
    if request.budget.size is not None:
        whole = baseline_stage()
        size = run.stage(
            "size",
            lambda: _weigh(coupling, whole, target, splits, request, folder, progress),
            Documents(SizeBound, hidden("size.json")),
        )
    job = Job(request, target, coupling, splits, criterion, size, run, progress)
    made = thin_out(job) if request.thinning is not None else cut_network(job)
    network = made.program
    if request.recovery.command is not None:
        network = run.stage(
            "retrain",
            lambda: _retrain(network, request, folder, progress),
            Programs(hidden("retrained.pt2")),
        )
    final = run.stage("save", lambda: network, Programs(MODEL))

    baseline = baseline_stage()
    exported = run.stage(
        "export", lambda: _export(final, request, target, folder, progress), DeliveryStore("exported.json")
    )
    smaller = run.stage(
        "quantize",
        lambda: quantized(original, final, exported, request, target, splits, folder, progress),
        QuantizedStore(),
    )
    artifacts = (*exported.artifacts, *smaller.artifacts)
    judgement = run.stage(
        "verify",
        lambda: _verify(original, final, artifacts, folder, target, splits, request, progress),
        Documents(Judgement, hidden("judgement.json")),
    )
    artifacts = run.stage(
        "describe",
        lambda: _describe(artifacts, folder, request, judgement),
        DeliveryStore("described.json"),
    ).artifacts
    old_runtimes = run.stage(
        "tflite-runtime",
        lambda: OldRuntimes(files=try_old_runtime(artifacts, folder, target, progress=progress)),
        Documents(OldRuntimes, hidden("tflite-runtime.json")),
    )
    macs = {one.path: made.plan.after.macs for one in artifacts}
    macs |= {one.path: made.plan.before.macs for one in baseline.artifacts}
    latencies = run.stage(
        "profile",
        lambda: _profile((*artifacts, *baseline.artifacts), folder, target, macs, progress),
        Documents(Latencies, hidden("latencies.json")),
    )
    result = report(
        Findings(
            request=request,
            target=target,
            criterion=criterion,
            groups=coupling.groups,
            plan=made.plan,
            proof=made.proof,
            compensation=made.compensation,
            finetuning=made.finetuning,
            search=made.search,
            thinned=made.thinned,
            size=None if size is None else size_claim(size, coupling, made.plan, artifacts, request.budget),
            splits=splits,
            artifacts=artifacts,
            baselines=baseline.artifacts,
            failed={**exported.failed, **smaller.failed},
            quantized=smaller,
            advice=advise(final, target, request.formats),
            judgement=judgement,
            latencies=latencies,
            seconds=run.seconds,
            deflated=_deflated((*artifacts, *baseline.artifacts), folder) if made.thinned else {},
            old_runtimes=old_runtimes.files,
        )
    )
    if run.team.first:
        result.save(folder / REPORT)
    return result


def _load(source: Path | nn.Module, request: Request, progress: Progress) -> Program:
    progress.start("load")
    program = load(
        source,
        arch=request.arch,
        input_size=request.input or image_size(request),
        trust_pickle=request.trust_pickle,
        base=Path(request.arch_base),
    )
    progress.finish()
    return require_single(program)


def _retrain(network: Program, request: Request, folder: Path, progress: Progress) -> Program:
    assert request.recovery.command is not None
    return retrain(
        network,
        request.recovery.command,
        folder / hidden("training"),
        read_weights,
        progress=progress,
    )


def _export(program: Program, request: Request, target: Target, folder: Path, progress: Progress) -> Delivery:
    artifacts, failed = export(
        program,
        request.formats,
        folder,
        parent=sha256(folder / MODEL),
        interface=request.interface,
        preprocess=request.preprocess,
        versions=target.oldest,
        progress=progress,
    )
    return Delivery(artifacts=tuple(artifacts), failed=failed)


def _baseline(
    original: Program, request: Request, target: Target, folder: Path, progress: Progress
) -> Delivery:
    """The original as float32 files, kept out of sight: only their latency is reported."""
    artifacts, failed = export(
        original,
        request.formats,
        folder / hidden("original"),
        parent=request.model_sha256,
        interface=request.interface,
        preprocess=request.preprocess,
        versions=target.oldest,
        name="export the original",
        progress=progress,
    )
    moved = (one.model_copy(update={"path": hidden(f"original/{one.path}")}) for one in artifacts)
    return Delivery(artifacts=tuple(moved), failed=failed)


def _weigh(
    coupling: Coupling,
    whole: Delivery,
    target: Target,
    splits: Splits | None,
    request: Request,
    folder: Path,
    progress: Progress,
) -> SizeBound:
    progress.start("weigh the original")
    calibration = splits.calibration if splits else None
    if calibration is not None:
        calibration = calibration.for_files(request.interface)
    precisions = request.precisions or target.precisions
    noted = partial(as_described, folder=folder / hidden("original"), request=request)
    bound = weighed(coupling, whole.artifacts, precisions, calibration, request.budget, folder, noted)
    progress.finish()
    return bound


def _verify(
    original: Program,
    final: Program,
    artifacts: tuple[Artifact, ...],
    folder: Path,
    target: Target,
    splits: Splits | None,
    request: Request,
    progress: Progress,
) -> Judgement:
    if splits is None:
        quality = Qualities(original=None, shrunk=None, note="data-free: no accuracy is claimed")
        verdicts = verify(
            final,
            artifacts,
            folder,
            target,
            None,
            interface=request.interface,
            preprocess=request.preprocess,
            progress=progress,
        )
        return Judgement(
            quality=quality, verdicts=_located(verdicts, final, artifacts, folder, target, request)
        )
    _, before = judge(original, splits.test, progress, "original")
    _, after = judge(final, splits.test, progress, "shrunk network")
    quality = compare_answers(before, after, splits.test.labels, request.labels)
    verdicts = verify(
        final,
        artifacts,
        folder,
        target,
        splits.test,
        reference=after,
        original=before,
        guard=guard_of(request, labelled=splits.test.labels is not None),
        interface=request.interface,
        progress=progress,
    )
    claim = claimed(before, after, splits.test.labels, request.budget)
    return Judgement(
        quality=quality,
        claim=claim,
        verdicts=_located(verdicts, final, artifacts, folder, target, request),
    )


def _located(
    verdicts: Sequence[Verdict],
    final: Program,
    artifacts: tuple[Artifact, ...],
    folder: Path,
    target: Target,
    request: Request,
) -> tuple[Verdict, ...]:
    """The verdicts, each failed one with the operator at fault; of files that are fed as the network is."""
    if not request.interface.plain:
        return tuple(verdicts)
    one = final.example(1).numpy()
    return tuple(
        located(verdict, final, artifact, folder, target, one)
        for verdict, artifact in zip(verdicts, artifacts, strict=True)
    )


def _describe(
    artifacts: tuple[Artifact, ...], folder: Path, request: Request, judgement: Judgement
) -> Delivery:
    notes = notes_of(request, folder / PLAN)
    return Delivery(artifacts=tuple(describe(artifacts, folder, notes, judgement.verdicts)))


def _deflated(artifacts: tuple[Artifact, ...], folder: Path) -> dict[str, int]:
    return {one.path: deflated_bytes(folder / one.path) for one in artifacts}


def _profile(
    artifacts: tuple[Artifact, ...], folder: Path, target: Target, macs: dict[str, int], progress: Progress
) -> Latencies:
    device = describe_device()
    latencies = profile(artifacts, folder, target, macs=macs, progress=progress)
    return Latencies(device=device, latencies=tuple(latencies))

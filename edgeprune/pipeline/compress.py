"""The main job: load > screen > plan > shrink > compensate > finetune > export > ... > report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeprune.core.artifact import Artifact, Format
from edgeprune.core.errors import StorageError
from edgeprune.core.files import deflated_bytes, sha256, storage_errors
from edgeprune.core.journal import JOURNAL, Documents, Run, hidden
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion
from edgeprune.core.recovery import Recovery, default_augment
from edgeprune.core.registry import build_from
from edgeprune.core.report import Delivery, Judgement, Latencies, Qualities, Report
from edgeprune.core.request import Budget, Images, Request
from edgeprune.core.samples import Split, Splits
from edgeprune.core.screening import Screening
from edgeprune.core.target import Target, find_target
from edgeprune.core.thinning import Thinning
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.processes import Processes, together
from edgeprune.graph.stored import Programs
from edgeprune.pipeline.kept import (
    Cut,
    CutStore,
    DeliveryStore,
    Finetuned,
    FinetunedStore,
    Refitted,
    RefittedStore,
    Shrunk,
)
from edgeprune.pipeline.shared_run import SharedRun
from edgeprune.pipeline.thin_out import thin_out
from edgeprune.stages.ask import ask
from edgeprune.stages.compensate import compensate
from edgeprune.stages.draw import draw, image_size
from edgeprune.stages.export import export
from edgeprune.stages.finetune import RATE, Course, finetune
from edgeprune.stages.load import load, read_weights, require_single
from edgeprune.stages.plan import plan
from edgeprune.stages.profile import describe_device, profile
from edgeprune.stages.quantize import quantize
from edgeprune.stages.report import Findings, report
from edgeprune.stages.retrain import retrain
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink
from edgeprune.stages.verify import compare_answers, judge, verify

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
    epochs: int = 0,
    recovery: Recovery | None = None,
    formats: tuple[Format, ...] = (),
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
        Takes single connections away instead of channels; with it there is no budget.
    epochs, recovery : int, Recovery, optional
        How long and how to train after the refit, or the command that does.
    allow_inexact : of str, optional
        Operators (`layer_norm`, `group_norm`) under which channels are cut although exactness does not
        hold there.
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
            epochs=epochs,
            recovery=recovery,
            formats=formats,
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
    original = run.stage(
        "load", lambda: _load(source, request, progress), Programs(hidden("original.pt2"), sources=True)
    )
    coupling = couple(original, request.allow_inexact)
    splits = draw(request, original)
    if request.thinning is not None:
        shrunk = thin_out(original, splits, request, run, progress)
    else:
        shrunk = _cut_channels(original, coupling, splits, request, target, run, progress)
    return _deliver(original, shrunk, splits, request, target, run, progress)


def _cut_channels(
    original: Program,
    coupling: Coupling,
    splits: Splits | None,
    request: Request,
    target: Target,
    run: SharedRun,
    progress: Progress,
) -> Shrunk:
    """Whole channels go, and what is left is refitted and trained."""
    seed, folder = request.seed, run.folder
    criterion = request.criterion or default_criterion(splits.calibration if splits else None)

    screening = run.stage(
        "screen",
        lambda: _screen(coupling, splits, criterion, request, run.team, progress),
        Documents(Screening, "screening.json"),
        shared=True,
    )
    proposal = run.stage(
        "plan",
        lambda: plan(coupling, screening, request.budget, multiple=target.channels.multiple, seed=seed),
        Documents(Plan, hidden("proposal.json")),
    )
    cut = run.stage("shrink", lambda: _shrink(coupling, proposal, progress), CutStore(coupling))
    network, compensation, finetuning = cut.program, None, None
    if splits is not None:
        refitted = run.stage(
            "compensate",
            lambda: _compensate(coupling, cut, splits, seed, progress),
            RefittedStore(),
        )
        network, compensation = refitted.program, refitted.compensation
    if splits is not None and request.epochs:
        finetuned = run.stage(
            "finetune",
            lambda: _finetune(original, refitted.program, splits, request, run, progress),
            FinetunedStore(),
            shared=True,
        )
        network, finetuning = finetuned.program, finetuned.finetuning
    if request.recovery.command is not None:
        network = run.stage(
            "retrain",
            lambda: _retrain(network, request, folder, progress),
            Programs(hidden("retrained.pt2")),
        )
    return Shrunk(network, criterion, coupling.groups, cut.plan, cut.proof, compensation, finetuning)


def _deliver(
    original: Program,
    shrunk: Shrunk,
    splits: Splits | None,
    request: Request,
    target: Target,
    run: SharedRun,
    progress: Progress,
) -> Report:
    """Files of the shrunk network, beside those of the original, judged and timed."""
    folder = run.folder
    final = run.stage("save", lambda: shrunk.program, Programs(MODEL))

    baseline = run.stage(
        "baseline", lambda: _baseline(original, request, folder, progress), DeliveryStore("baseline.json")
    )
    exported = run.stage(
        "export", lambda: _export(final, request, folder, progress), DeliveryStore("exported.json")
    )
    quantized = run.stage(
        "quantize",
        lambda: _quantize(exported, target, splits, folder, progress),
        DeliveryStore("quantized.json"),
    )
    artifacts = (*exported.artifacts, *quantized.artifacts)
    judgement = run.stage(
        "verify",
        lambda: _verify(original, final, artifacts, folder, target, splits, request, progress),
        Documents(Judgement, hidden("judgement.json")),
    )
    latencies = run.stage(
        "profile",
        lambda: _profile((*artifacts, *baseline.artifacts), folder, target, progress),
        Documents(Latencies, hidden("latencies.json")),
    )
    result = report(
        Findings(
            request=request,
            target=target,
            criterion=shrunk.criterion,
            groups=shrunk.groups,
            plan=shrunk.plan,
            proof=shrunk.proof,
            compensation=shrunk.compensation,
            finetuning=shrunk.finetuning,
            thinned=shrunk.thinned,
            splits=splits,
            artifacts=artifacts,
            baselines=baseline.artifacts,
            failed={**exported.failed, **quantized.failed},
            judgement=judgement,
            latencies=latencies,
            seconds=run.seconds,
            deflated=_deflated((*artifacts, *baseline.artifacts), folder) if shrunk.thinned else {},
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


def _screen(
    coupling: Coupling,
    splits: Splits | None,
    criterion: str,
    request: Request,
    team: Processes,
    progress: Progress,
) -> Screening:
    ranking: Criterion = build_from("criteria", criterion)
    return screen(
        coupling,
        splits.calibration if splits else None,
        ranking,
        name=criterion,
        classes=splits.classes if splits else 0,
        class_names=request.labels,
        selection=splits.selection if splits else None,
        seed=request.seed,
        also=("gram", "moments"),
        team=team,
        progress=progress,
    )


def _shrink(coupling: Coupling, proposal: Plan, progress: Progress) -> Cut:
    progress.start("shrink and prove")
    result = Cut(*shrink(coupling, proposal))
    progress.finish()
    return result


def _compensate(coupling: Coupling, cut: Cut, splits: Splits, seed: int, progress: Progress) -> Refitted:
    return Refitted(
        *compensate(
            coupling,
            cut.program,
            cut.plan,
            splits.calibration,
            splits.selection,
            seed=seed,
            progress=progress,
        )
    )


def _finetune(
    original: Program, refitted: Program, splits: Splits, request: Request, run: SharedRun, progress: Progress
) -> Finetuned:
    asked = request.recovery
    course = Course(
        epochs=request.epochs,
        learning_rate=asked.learning_rate or RATE,
        augment=asked.augment or default_augment(original.input_size),
        seed=request.seed,
    )
    return Finetuned(
        *finetune(
            original,
            refitted,
            splits.training,
            splits.selection,
            course,
            checkpoint=run.folder / hidden("checkpoint.pt"),
            team=run.team,
            progress=progress,
        )
    )


def _retrain(network: Program, request: Request, folder: Path, progress: Progress) -> Program:
    assert request.recovery.command is not None
    return retrain(
        network,
        request.recovery.command,
        folder / hidden("training"),
        read_weights,
        progress=progress,
    )


def _export(program: Program, request: Request, folder: Path, progress: Progress) -> Delivery:
    parent = sha256(folder / MODEL)
    artifacts, failed = export(program, request.formats, folder, parent=parent, progress=progress)
    return Delivery(artifacts=tuple(artifacts), failed=failed)


def _baseline(original: Program, request: Request, folder: Path, progress: Progress) -> Delivery:
    """The original as float32 files, kept out of sight: only their latency is reported."""
    artifacts, failed = export(
        original,
        request.formats,
        folder / hidden("original"),
        parent=request.model_sha256,
        name="export the original",
        progress=progress,
    )
    moved = (one.model_copy(update={"path": hidden(f"original/{one.path}")}) for one in artifacts)
    return Delivery(artifacts=tuple(moved), failed=failed)


def _quantize(
    exported: Delivery, target: Target, splits: Splits | None, folder: Path, progress: Progress
) -> Delivery:
    calibration = splits.calibration if splits else None
    artifacts, failed = quantize(
        exported.artifacts, target.precisions, calibration, folder, progress=progress
    )
    return Delivery(artifacts=tuple(artifacts), failed=failed)


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
        verdicts = verify(final, artifacts, folder, target, None, progress=progress)
        return Judgement(quality=quality, verdicts=tuple(verdicts))
    _, before = judge(original, splits.test, progress, "original")
    _, after = judge(final, splits.test, progress, "shrunk network")
    quality = compare_answers(before, after, splits.test.labels, request.labels)
    verdicts = verify(
        final, artifacts, folder, target, splits.test, reference=after, original=before, progress=progress
    )
    return Judgement(quality=quality, verdicts=tuple(verdicts))


def _deflated(artifacts: tuple[Artifact, ...], folder: Path) -> dict[str, int]:
    return {one.path: deflated_bytes(folder / one.path) for one in artifacts}


def _profile(artifacts: tuple[Artifact, ...], folder: Path, target: Target, progress: Progress) -> Latencies:
    device = describe_device()
    return Latencies(device=device, latencies=tuple(profile(artifacts, folder, target, progress=progress)))

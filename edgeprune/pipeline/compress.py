"""The main job: load > screen > plan > shrink > compensate > finetune > export > ... > report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import StorageError
from edgeprune.core.files import storage_errors
from edgeprune.core.interface import Interface
from edgeprune.core.journal import JOURNAL, Run, hidden
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.recovery import Recovery
from edgeprune.core.report import Report
from edgeprune.core.request import QUANTIZED_DROP, Budget, Images, Request
from edgeprune.core.samples import Split
from edgeprune.core.target import Target, find_target
from edgeprune.core.thinning import Thinning
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import couple
from edgeprune.graph.processes import together
from edgeprune.graph.stored import Programs
from edgeprune.pipeline.cutting import cut_network
from edgeprune.pipeline.delivering import delivered, weight_bound
from edgeprune.pipeline.job import Job
from edgeprune.pipeline.kept import MODEL
from edgeprune.pipeline.search import require_enough
from edgeprune.pipeline.shared_run import SharedRun
from edgeprune.pipeline.thin_out import default_connection_criterion, thin_out
from edgeprune.pipeline.weighing import size_claim
from edgeprune.stages.advise import advise
from edgeprune.stages.ask import ask
from edgeprune.stages.draw import draw, image_size
from edgeprune.stages.load import load, read_weights, require_single
from edgeprune.stages.report import Findings, report
from edgeprune.stages.retrain import retrain

if TYPE_CHECKING:
    from torch import nn

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
    job = Job(request, target, coupling, splits, criterion, None, run, progress)
    if request.budget.size is not None:
        job = replace(job, size=weight_bound(job))
    made = thin_out(job) if request.thinning is not None else cut_network(job)
    network = made.program
    if request.recovery.command is not None:
        network = run.stage(
            "retrain",
            lambda: _retrain(network, request, folder, progress),
            Programs(hidden("retrained.pt2")),
        )
    final = run.stage("save", lambda: network, Programs(MODEL))
    files = delivered(job, made, final)
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
            note=made.note,
            size=None
            if job.size is None
            else size_claim(job.size, coupling, made.plan, files.artifacts, request.budget),
            splits=splits,
            artifacts=files.artifacts,
            baselines=files.baseline.artifacts,
            failed=files.failed,
            quantized=files.quantized,
            advice=advise(final, target, request.formats),
            judgement=files.judgement,
            latencies=files.latencies,
            seconds=run.seconds,
            deflated=files.deflated(folder) if made.thinned else {},
            old_runtimes=files.old_runtimes,
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
    return require_single(program, "compress")


def _retrain(network: Program, request: Request, folder: Path, progress: Progress) -> Program:
    assert request.recovery.command is not None
    return retrain(
        network,
        request.recovery.command,
        folder / hidden("training"),
        read_weights,
        progress=progress,
    )

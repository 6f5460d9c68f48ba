"""The main job: load > screen > plan > shrink > compensate > finetune > export > ... > report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeprune.core.application import Application
from edgeprune.core.artifact import Artifact, Format
from edgeprune.core.errors import GateError, StorageError
from edgeprune.core.explanation import Explanation
from edgeprune.core.files import sha256, storage_errors
from edgeprune.core.inputs import InputSize
from edgeprune.core.inspection import Inspection
from edgeprune.core.journal import JOURNAL, Documents, Run, hidden
from edgeprune.core.plan import PLAN, Plan, find_plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Criterion
from edgeprune.core.registry import build
from edgeprune.core.report import Compensation, Delivery, Judgement, Latencies, Proof, Qualities, Report
from edgeprune.core.request import Budget, Images, Look, Request
from edgeprune.core.samples import Splits
from edgeprune.core.screening import Screening
from edgeprune.core.target import Target, find_target
from edgeprune.graph.capture import Input, Program
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.give_back import give_back as give_the_class_back
from edgeprune.graph.give_back import refilled
from edgeprune.graph.stored import Programs
from edgeprune.stages.ask import ask, ask_to_look
from edgeprune.stages.compensate import compensate
from edgeprune.stages.draw import draw, image_size
from edgeprune.stages.explain import explain_layer
from edgeprune.stages.export import export
from edgeprune.stages.finetune import finetune
from edgeprune.stages.hand_over import hand_over, require_room
from edgeprune.stages.inspect import inspect_groups
from edgeprune.stages.load import load, require_single
from edgeprune.stages.plan import plan
from edgeprune.stages.profile import describe_device, profile
from edgeprune.stages.quantize import quantize
from edgeprune.stages.report import Findings, report
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay, shrink
from edgeprune.stages.verify import judge, verify

if TYPE_CHECKING:
    from torch import nn

MODEL = "model.pt2"
"""The shrunk network in the run folder."""
REPORT = "report.json"
DEFAULT_CRITERION = "screening"
DATA_FREE_CRITERION = "l2"


def compress(
    model: str | Path | nn.Module,
    *,
    target: str | Target,
    arch: str | None = None,
    input: tuple[int, ...] | None = None,
    data: str | None = None,
    budget: Budget | None = None,
    criterion: str | None = None,
    images: Images | None = None,
    epochs: int = 0,
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
    request = ask(
        source,
        chosen,
        arch=arch,
        input=input,
        data=data,
        budget=budget,
        criterion=criterion,
        images=images,
        epochs=epochs,
        formats=formats,
        seed=seed,
        trust_pickle=trust_pickle,
        allow_inexact=allow_inexact,
    )
    folder = Path(out) if out is not None else default_folder(request)
    if isinstance(source, Path) and source.resolve() == (folder / MODEL).resolve():
        raise StorageError(f"{source} would be overwritten", hint="choose another folder with --out")
    torch.manual_seed(seed)
    return _run(source, request, chosen, _opened(folder, request), progress or Silent())


def inspect(
    model: str | Path | nn.Module | None = None,
    *,
    arch: str | None = None,
    input: tuple[int, ...] | Sequence[InputSize] | None = None,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Inspection:
    """What can be cut in a network, and why the rest cannot; without a model, random weights.

    `input` is the size of its one input without the batch, or one `InputSize` for each of several.
    """
    return inspect_groups(_coupled(model, arch, input, trust_pickle, allow_inexact))


def explain(
    model: str | Path | nn.Module | None = None,
    *,
    layer: str,
    arch: str | None = None,
    input: tuple[int, ...] | Sequence[InputSize] | None = None,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Explanation:
    """Where the channels of a layer (or of all layers below a name) go, and what goes with them."""
    return explain_layer(_coupled(model, arch, input, trust_pickle, allow_inexact), layer)


def apply(
    plan: str | Path | Plan,
    model: str | Path | nn.Module,
    *,
    arch: str | None = None,
    input: tuple[int, ...] | None = None,
    out: str | Path | None = None,
    state: str | Path | None = None,
    force: bool = False,
    trust_pickle: bool = False,
    progress: Progress | None = None,
) -> Application:
    """Carry out a plan on any checkpoint of the network it was made for, with the proof.

    Parameters
    ----------
    plan : path or Plan
        `plan.json`, the run folder that holds it, or a plan.
    out : path, optional
        The `.pt2` to write; default `<model>-shrunk.pt2` in the current folder.
    state : path, optional
        Where to write the narrow state dict, too.
    force : bool
        Overwrite what is there.

    Raises
    ------
    GateError
        The proof fails; nothing is written.
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    inputs = [Path(one) for one in (plan, model) if isinstance(one, (str, Path))]
    source = Path(model) if isinstance(model, (str, Path)) else model
    name = source.stem if isinstance(source, Path) else "module"
    file = Path(out) if out is not None else Path(f"{name}-shrunk.pt2")
    beside = Path(state) if state is not None else None
    require_room([file, *([beside] if beside else [])], inputs=inputs, force=force)
    chosen = plan if isinstance(plan, Plan) else find_plan(Path(plan))
    look = ask_to_look(
        source,
        arch=arch,
        inputs=_inputs(input or chosen.input),
        trust_pickle=trust_pickle,
        allow_inexact=chosen.allow_inexact,
    )
    told = progress or Silent()
    told.start("load")
    coupling = _looked_at(source, look)
    told.finish()
    cut = _carried_out(coupling, chosen, told)
    written = hand_over(coupling.program, cut.program, cut.plan, file, beside)
    return Application(model=name, plan=cut.plan, proof=cut.proof, files=tuple(str(one) for one in written))


def give_back(
    module: nn.Module,
    plan: str | Path | Plan,
    *,
    weights: str | Path | None = None,
    input: tuple[int, ...] | None = None,
) -> nn.Module:
    """A copy of your module at the plan's widths, to go on with your own training code.

    Parameters
    ----------
    module : Module
        The network the plan was made for; it is left as it was.
    plan : path or Plan
        `plan.json`, the run folder that holds it, or a plan.
    weights : path, optional
        The run's `model.pt2`: the refitted weights; default the module's own, narrowed.

    Raises
    ------
    ModelError
        The class cannot carry the new widths; the message says which line stands against it.
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    chosen = plan if isinstance(plan, Plan) else find_plan(Path(plan))
    original = load(module, arch=None, input_size=input or chosen.input or None)
    cut = _carried_out(couple(original, chosen.allow_inexact), chosen, Silent())
    shrunk = cut.program
    if weights is not None:
        shrunk = refilled(shrunk, load(Path(weights), arch=None, input_size=None), source=str(weights))
    return give_the_class_back(module, original, shrunk, cut.plan)


def default_folder(request: Request) -> Path:
    """Where a run goes when nothing is said: `runs/<model>-<target>`."""
    return Path("runs") / f"{request.model or 'module'}-{request.target}"


def _inputs(given: tuple[int, ...] | Sequence[InputSize] | None) -> tuple[InputSize, ...]:
    several = tuple(one for one in given or () if isinstance(one, InputSize))
    single = tuple(size for size in given or () if isinstance(size, int))
    return (InputSize(size=single),) if single else several


def _coupled(
    model: str | Path | nn.Module | None,
    arch: str | None,
    input: tuple[int, ...] | Sequence[InputSize] | None,
    trust_pickle: bool,
    allow_inexact: Iterable[str],
) -> Coupling:
    """What `inspect` and `explain` look at."""
    source = Path(model) if isinstance(model, (str, Path)) else model
    look = ask_to_look(
        source,
        arch=arch,
        inputs=_inputs(input),
        trust_pickle=trust_pickle,
        allow_inexact=allow_inexact,
    )
    return _looked_at(source, look)


def _looked_at(source: Path | nn.Module | None, look: Look) -> Coupling:
    program = load(
        source,
        arch=look.arch,
        input_size=[Input.of(one) for one in look.inputs] or None,
        trust_pickle=look.trust_pickle,
        base=Path(look.arch_base),
    )
    return couple(program, look.allow_inexact)


def _opened(folder: Path, request: Request) -> Run:
    """The run folder, ready; a request that was corrected must not trip over its first attempt."""
    with storage_errors(folder):
        (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
    try:
        return Run(folder, request)
    except StorageError:
        if (folder / REPORT).exists():
            raise
        (folder / JOURNAL / "journal.json").unlink()
        return Run(folder, request)


def _run(source: Path | nn.Module, request: Request, target: Target, run: Run, progress: Progress) -> Report:
    """The poem: every line is one stage, finished stages are read back from the run folder."""
    seed, folder = request.seed, run.folder
    original = run.stage(
        "load", lambda: _load(source, request, progress), Programs(hidden("original.pt2"), sources=True)
    )
    coupling = couple(original, request.allow_inexact)
    splits = draw(request, original)
    criterion = request.criterion or (DEFAULT_CRITERION if splits else DATA_FREE_CRITERION)

    screening = run.stage(
        "screen",
        lambda: _screen(coupling, splits, criterion, seed, progress),
        Documents(Screening, "screening.json"),
    )
    proposal = run.stage(
        "plan",
        lambda: plan(coupling, screening, request.budget, multiple=target.channels.multiple, seed=seed),
        Documents(Plan, hidden("proposal.json")),
    )
    cut = run.stage("shrink", lambda: _shrink(coupling, proposal, progress), _CutStore(coupling))
    network, compensation = cut.program, None
    if splits is not None:
        refitted = run.stage(
            "compensate",
            lambda: _compensate(coupling, cut, splits, seed, progress),
            _RefittedStore(),
        )
        network, compensation = refitted.program, refitted.compensation
    if splits is not None and request.epochs:
        network = run.stage(
            "finetune",
            lambda: finetune(
                original,
                refitted.program,
                splits.training,
                epochs=request.epochs,
                seed=seed,
                progress=progress,
            ),
            Programs(hidden("finetuned.pt2")),
        )
    final = run.stage("save", lambda: network, Programs(MODEL))

    baseline = run.stage(
        "baseline", lambda: _baseline(original, request, folder, progress), _Files("baseline.json")
    )
    exported = run.stage("export", lambda: _export(final, request, folder, progress), _Files("exported.json"))
    quantized = run.stage(
        "quantize",
        lambda: _quantize(exported, target, splits, folder, progress),
        _Files("quantized.json"),
    )
    artifacts = (*exported.artifacts, *quantized.artifacts)
    judgement = run.stage(
        "verify",
        lambda: _verify(original, final, artifacts, folder, target, splits, progress),
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
            criterion=criterion,
            groups=coupling.groups,
            plan=cut.plan,
            proof=cut.proof,
            compensation=compensation,
            splits=splits,
            artifacts=artifacts,
            baselines=baseline.artifacts,
            failed={**exported.failed, **quantized.failed},
            judgement=judgement,
            latencies=latencies,
            seconds=run.seconds,
        )
    )
    result.save(folder / REPORT)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """What `shrink` gives: the program, the plan as carried out, and the proof."""

    program: Program
    plan: Plan
    proof: Proof


@dataclass(frozen=True, slots=True, eq=False)
class _Refitted:
    """What `compensate` gives."""

    program: Program
    compensation: Compensation


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
    coupling: Coupling, splits: Splits | None, criterion: str, seed: int, progress: Progress
) -> Screening:
    ranking: Criterion = build("criteria", criterion)
    return screen(
        coupling,
        splits.calibration if splits else None,
        ranking,
        name=criterion,
        classes=splits.classes if splits else 0,
        seed=seed,
        progress=progress,
    )


def _shrink(coupling: Coupling, proposal: Plan, progress: Progress) -> _Cut:
    progress.start("shrink and prove")
    result = _Cut(*shrink(coupling, proposal))
    progress.finish()
    return result


def _carried_out(coupling: Coupling, plan: Plan, progress: Progress) -> _Cut:
    """All of a plan or nothing: half of one is another plan, which nobody decided on."""
    cut = _shrink(coupling, plan, progress)
    for group, reason in cut.proof.refused.items():
        raise GateError(
            f"plan: group '{group}' cannot be cut: {reason}",
            hint="take it out of the plan's cuts, and delete 'tensors'; they are worked out again",
        )
    return cut


def _compensate(coupling: Coupling, cut: _Cut, splits: Splits, seed: int, progress: Progress) -> _Refitted:
    return _Refitted(
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
    progress: Progress,
) -> Judgement:
    if splits is None:
        quality = Qualities(original=None, shrunk=None, note="data-free: no accuracy is claimed")
        verdicts = verify(final, artifacts, folder, target, None, progress=progress)
        return Judgement(quality=quality, verdicts=tuple(verdicts))
    before, _ = judge(original, splits.test, progress, "original")
    after, answers = judge(final, splits.test, progress, "shrunk network")
    verdicts = verify(final, artifacts, folder, target, splits.test, reference=answers, progress=progress)
    return Judgement(quality=Qualities(original=before, shrunk=after), verdicts=tuple(verdicts))


def _profile(artifacts: tuple[Artifact, ...], folder: Path, target: Target, progress: Progress) -> Latencies:
    device = describe_device()
    return Latencies(device=device, latencies=tuple(profile(artifacts, folder, target, progress=progress)))


class _CutStore:
    """Keeps the plan and its proof; the program is cut again, which takes no time."""

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling

    def write(self, value: _Cut, folder: Path) -> list[Path]:
        value.plan.save(folder / PLAN)
        value.proof.save(folder / hidden("proof.json"))
        return [folder / PLAN, folder / hidden("proof.json")]

    def read(self, folder: Path) -> _Cut:
        done = Plan.load(folder / PLAN)
        return _Cut(replay(self._coupling, done), done, Proof.load(folder / hidden("proof.json")))


class _RefittedStore:
    """Keeps the refitted program and what the refit did."""

    _program = Programs(hidden("refitted.pt2"))
    _document = Documents(Compensation, hidden("compensation.json"))

    def write(self, value: _Refitted, folder: Path) -> list[Path]:
        return [
            *self._program.write(value.program, folder),
            *self._document.write(value.compensation, folder),
        ]

    def read(self, folder: Path) -> _Refitted:
        return _Refitted(self._program.read(folder), self._document.read(folder))


class _Files:
    """Keeps the list of delivered files; the files themselves are its files too."""

    def __init__(self, name: str) -> None:
        self._document = Documents(Delivery, hidden(name))

    def write(self, value: Delivery, folder: Path) -> list[Path]:
        files = [folder / artifact.path for artifact in value.artifacts]
        return [*files, *self._document.write(value, folder)]

    def read(self, folder: Path) -> Delivery:
        return self._document.read(folder)

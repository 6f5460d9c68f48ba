"""Recovery: what edgeprune and Torch-Pruning cut, trained for the same epochs; one JSON line per run.

Runs from a plain checkout (PYTHONPATH=.) with torch, numpy, scipy, statsmodels, pydantic and torch-pruning;
nothing of ONNX or TFLite is needed. On a lent machine, where minutes count:

    recovery.py parts --out build/recovery/data                   # images in pieces that can be carried
    recovery.py prepare --starts build/recovery/starts            # all but the training, anywhere
    recovery.py time --starts build/recovery/starts               # milliseconds per step, by launch
    recovery.py run --starts build/recovery/starts --epochs 100 --together --out build/recovery/runs.jsonl

with --weights and --data where the files lie elsewhere than in the shared data. Processes take turns on a
card, they do not share it: more --jobs hide what each does on the processor, no more. --together trains all
runs side by side in one process (together.py).

Rows: `edgeprune`; `Torch-Pruning` with plain cross-entropy and by gradients, as its own scripts train, since
orthogonal steps did it harm (docs/benchmarks.md); `Torch-Pruning, distilled` as edgeprune's are trained. All
go the same course over the same images through `stages.finetune`; weights are chosen on selection images. Of
the test images only the original's answers have a word in that (docs/decisions/0015-known-images.md).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.starts import OURS, PEER, Cut, start_of
from benchmarks.accuracy.subjects import DATA, resnet, write_parts
from benchmarks.accuracy.together import Pupil, steps, trained_together
from edgeprune.core.recovery import require_augment
from edgeprune.core.samples import Split, Splits
from edgeprune.graph import device as device_module
from edgeprune.graph.capture import Program
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.device import placed, training_device
from edgeprune.graph.objective import Objective
from edgeprune.graph.settle import settled
from edgeprune.graph.weights import copied
from edgeprune.stages import finetune as stage
from edgeprune.stages.finetune import BATCH, RATE, Course, finetune

DISTILLED = f"{PEER}, distilled"
OBJECTIVES = {OURS: Objective(), PEER: Objective(distilled=0.0, smoothing=0.0), DISTILLED: Objective()}
"""What each row learns from."""
ROWS = (*OBJECTIVES,)
_TIMED = 100
"""Steps that are timed, after as many as a recording takes."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie on this machine; None for the shared data, or nowhere."""

    weights: Path | None
    data: Path | None
    starts: Path | None


@dataclass(frozen=True, slots=True)
class Run:
    """One line of the results, as it is asked for."""

    row: str
    cut: Cut
    epochs: int
    rate: float
    batch: int
    augment: str
    images: int | None
    """To train on; None for all but the selection images."""
    test: int | None
    threads: int
    fastest: bool
    """Whether cuDNN tries its algorithms before it chooses."""

    @property
    def file(self) -> str:
        """What its trained weights are called."""
        row, cut = self.row.replace(", ", "-").replace(" ", "-"), self.cut
        return f"{cut.network}-{row}-{cut.speedup:g}x-{cut.seed}-{self.epochs}-{self.rate:g}-{self.batch}.pt"

    @property
    def orthogonal(self) -> bool:
        """Whether layers' weights take orthogonal steps."""
        return self.row != PEER

    @property
    def course(self) -> Course:
        """How it is trained."""
        augment = require_augment(self.augment)
        return Course(self.epochs, self.rate, augment, self.cut.seed, self.batch, OBJECTIVES[self.row])


def main() -> None:
    """Do what the first word says."""
    options = _options()
    options.work(options)


def run(options: argparse.Namespace) -> None:
    """Carry out what the options ask for."""
    if options.together:
        together(_runs(options), _places(options), options.out)
    else:
        carry_out(_runs(options), _places(options), options.out, jobs=options.jobs)


def carry_out(wanted: list[Run], places: Places, out: Path, *, jobs: int) -> None:
    """Carry the runs out, so many at a time, and append a line for each that ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for work, done in _carried_out(wanted, places, jobs):
        name, error = f"{work.row} {work.cut.speedup:g}x seed {work.cut.seed}", done.exception()
        if error is not None:
            failed.append(f"{name}: {error}")
            continue
        _append(out, done.result())
        _say(f"{name}: {done.result()['top1']:.2f}")
    if failed:
        sys.exit("\n".join(f"error: {one}" for one in failed))


def together(wanted: list[Run], places: Places, out: Path) -> None:
    """Train all runs side by side, and append a line for each; its weights stay in a file beside the lines.

    Runs of one seed see the same images. Seconds are those of all runs together.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = wanted[0].fastest
    torch.set_num_threads(wanted[0].threads)
    held: dict[int, Splits] = {}
    ready = [_ready(work, places, work.images, held) for work in wanted]
    original = ready[0][1].program
    starts = [copied(program) for _, _, program in ready]
    began = [right(program, splits.test) for splits, _, program in ready]
    started = time.perf_counter()
    averages = trained_together(
        [
            Pupil(original, program, splits.training, work.course, work.orthogonal)
            for work, (splits, _, program) in zip(wanted, ready, strict=True)
        ]
    )
    seconds = time.perf_counter() - started
    for work, (_, _, program), averaged in zip(wanted, ready, averages, strict=True):
        # Before one of them is chosen: minutes on a lent card are not to be had again.
        torch.save({"last": copied(program), "averaged": averaged}, out.with_name(work.file))
    for work, (splits, coupling, program), start, averaged, begun in zip(
        wanted, ready, starts, averages, began, strict=True
    ):
        choice = settled(
            original, program, splits.selection, start, averaged, work.course.objective, fresh=splits.test
        )
        document = {"images": len(splits.training), "batch": work.batch, **asdict(choice)}
        line = _line(work, splits, coupling, program, begun, seconds, document)
        _append(out, {**line, "beside": len(wanted) - 1})
        _say(f"{work.row} {work.cut.speedup:g}x seed {work.cut.seed}: {line['top1']:.2f}")


def prepare(options: argparse.Namespace) -> None:
    """Work out and keep every start, one after the other."""
    places, made = _places(options), set()
    for work in _runs(options):
        if work.cut not in made:
            made.add(work.cut)
            _say(f"start {work.cut.file}")
            subject = resnet(work.cut.network, weights=places.weights, data=places.data)
            splits = subject.splits(work.cut.seed, calibration=work.cut.calibration)
            start_of(work.cut, subject, splits, couple(subject.program()), places.starts)


def parts(options: argparse.Namespace) -> None:
    """Take the archive of images apart."""
    write_parts(options.data or DATA / "cifar10.npz", options.out, mebibytes=options.mebibytes)


def measure(options: argparse.Namespace) -> None:
    """Milliseconds per training step of the first run, launched in several ways."""
    places, work = _places(options), _runs(options)[0]
    torch.set_num_threads(work.threads)
    images = min(work.images or 10**9, work.batch * (_TIMED + 5))
    ready = _ready(work, places, images)
    for name, recorded, last, fastest in _VARIANTS:
        with _launched(recorded, last, fastest):
            found = {"variant": name, "ms": round(_step_ms(work, ready), 3), **_machine()}
        print(json.dumps(found), flush=True)


def one(work: Run, places: Places) -> dict[str, Any]:
    """One run from its start to its accuracy."""
    torch.set_num_threads(work.threads)
    torch.backends.cudnn.benchmark = work.fastest
    splits, coupling, program = _ready(work, places, work.images)
    begun = right(program, splits.test)
    started = time.perf_counter()
    with steps(orthogonal=work.orthogonal):
        program, document = finetune(
            coupling.program, program, splits.training, splits.selection, work.course, fresh=splits.test
        )
    seconds = time.perf_counter() - started
    return _line(work, splits, coupling, program, begun, seconds, document.model_dump(mode="json"))


def _line(
    work: Run,
    splits: Splits,
    coupling: Coupling,
    program: Program,
    begun: int,
    seconds: float,
    finetuning: dict[str, Any],
) -> dict[str, Any]:
    """What a run came to; `begun` test images were right at its start."""
    before, after = count(coupling), count(couple(program))
    found = right(program, splits.test)
    return {
        **asdict(work),
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
        "top1_before": round(100 * begun / len(splits.test), 4),
        "top1": round(100 * found / len(splits.test), 4),
        "right": found,
        "tested": len(splits.test),
        "seconds": round(seconds, 1),
        "finetuning": finetuning,
        **_machine(),
    }


def _append(out: Path, line: dict[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def _ready(
    work: Run, places: Places, images: int | None, held: dict[int, Splits] | None = None
) -> tuple[Splits, Coupling, Program]:
    """Images (so many to train on), the original, and where training starts.

    Images that are `held` by their seed are not drawn anew.
    """
    subject = resnet(work.cut.network, weights=places.weights, data=places.data)
    held = {} if held is None else held
    if work.cut.seed not in held:
        held[work.cut.seed] = subject.splits(
            work.cut.seed, calibration=work.cut.calibration, training=images, test=work.test
        )
    splits = held[work.cut.seed]
    coupling = couple(subject.program())
    return splits, coupling, start_of(work.cut, subject, splits, coupling, places.starts)


def right(program: Program, split: Split) -> int:
    """How many images a program answers right, in single precision."""
    device, total = training_device(), 0
    with placed(program, device):
        for inputs, labels in split.batches(500):
            assert labels is not None
            answers = program.run(torch.from_numpy(inputs).to(device)).argmax(1)
            total += int((answers.cpu() == torch.from_numpy(labels)).sum())
    return total


def _runs(options: argparse.Namespace) -> list[Run]:
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    return [
        Run(
            row=row,
            cut=Cut(
                maker=OURS if row == OURS else PEER,
                network=options.network,
                speedup=speedup,
                seed=seed,
                criterion=options.criterion,
                multiple=options.multiple,
                calibration=options.calibration,
            ),
            epochs=options.epochs,
            rate=options.rate,
            batch=options.batch,
            augment=options.augment,
            images=options.images,
            test=options.test,
            threads=threads,
            fastest=options.fastest,
        )
        for seed, speedup, row in itertools.product(options.seeds, options.speedups, options.rows)
    ]


def _carried_out(
    wanted: list[Run], places: Places, jobs: int
) -> Iterator[tuple[Run, Future[dict[str, Any]]]]:
    # Spawned, not forked: a CUDA context does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {pool.submit(one, work, places): work for work in wanted}
        for done in as_completed(waiting):
            yield waiting[done], done


_VARIANTS = (
    ("plain", False, False, False),
    ("recorded", True, False, False),
    ("recorded, channels last", True, True, False),
    ("recorded, channels last, algorithms tried", True, True, True),
)


@contextmanager
def _launched(recorded: bool, last: bool, fastest: bool) -> Iterator[None]:
    """Fine-tuning with some of what it does on a CUDA device left out."""
    held = stage._recorder, stage.channels_last, device_module.channels_last, torch.backends.cudnn.benchmark
    if not recorded:
        stage._recorder = lambda device, team: None
    if not last:
        stage.channels_last = device_module.channels_last = lambda program: False
    torch.backends.cudnn.benchmark = fastest
    try:
        yield
    finally:
        stage._recorder, stage.channels_last, device_module.channels_last = held[:3]
        torch.backends.cudnn.benchmark = held[3]


class _Clock:
    """A progress that reads the clock after some steps and at the last one, the device waited for."""

    def __init__(self, first: int) -> None:
        self.steps, self._first, self.times = 0, first, [0.0, 0.0]

    def start(self, name: str, steps: int = 0) -> None:
        """Nothing to show."""

    def advance(self, steps: int = 1) -> None:
        """One step is done."""
        self.steps += steps
        if self.steps == self._first:
            self.times[0] = _now()

    def finish(self) -> None:
        """The last step is done."""
        self.times[1] = _now()

    @property
    def step_ms(self) -> float:
        """Mean of the steps after the first ones."""
        return 1_000 * (self.times[1] - self.times[0]) / (self.steps - self._first)


def _step_ms(work: Run, ready: tuple[Splits, Coupling, Program]) -> float:
    splits, coupling, program = ready
    clock = _Clock(min(5, len(splits.training) // work.batch - 1))
    course = dataclasses.replace(work.course, epochs=1)
    finetune(coupling.program, program, splits.training, splits.selection, course, progress=clock)
    return clock.step_ms


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _machine() -> dict[str, str]:
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if cuda else f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _places(options: argparse.Namespace) -> Places:
    return Places(options.weights, options.data, options.starts)


def _say(text: str) -> None:
    print(f"[{datetime.now(UTC):%H:%M:%S}] {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="recovery beside Torch-Pruning, one JSON line per run")
    words = parser.add_subparsers(required=True)
    taken_apart = words.add_parser("parts")
    taken_apart.add_argument("--data", type=Path)
    taken_apart.add_argument("--out", type=Path, required=True)
    taken_apart.add_argument("--mebibytes", type=int, default=30)
    taken_apart.set_defaults(work=parts)
    for name, work in (("run", run), ("prepare", prepare), ("time", measure)):
        word = words.add_parser(name)
        word.set_defaults(work=work)
        _add_run(word)
    return parser.parse_args()


def _add_run(word: argparse.ArgumentParser) -> None:
    word.add_argument("--network", default="resnet56", choices=["resnet20", "resnet56"])
    word.add_argument("--rows", type=lambda text: text.split(";"), default=[*ROWS], help="; between them")
    word.add_argument("--speedups", type=_floats, default=[2.1, 2.55])
    word.add_argument("--seeds", type=_ints, default=[0, 1, 2])
    word.add_argument("--epochs", type=int, default=100)
    word.add_argument("--rate", type=float, default=RATE)
    word.add_argument("--batch", type=int, default=BATCH)
    word.add_argument("--augment", default="flip", choices=["none", "shift", "flip"])
    word.add_argument("--criterion", default="refit")
    word.add_argument("--multiple", type=int, default=1, help="of kept widths")
    word.add_argument("--calibration", type=int, default=2_000)
    word.add_argument("--images", type=int, help="to train on, of all")
    word.add_argument("--test", type=int, help="to test with, of all")
    word.add_argument("--jobs", type=int, default=1, help="runs at a time")
    word.add_argument("--together", action="store_true", help="all runs in one process, side by side")
    word.add_argument("--fastest", action="store_true", help="let cuDNN try its algorithms")
    word.add_argument("--weights", type=Path)
    word.add_argument("--data", type=Path, help=".npz, or a folder that `parts` wrote")
    word.add_argument("--starts", type=Path, help="folder of what `prepare` keeps")
    word.add_argument("--out", type=Path, default=Path("build/recovery/runs.jsonl"))


def _floats(text: str) -> list[float]:
    return [float(one) for one in text.split(",")]


def _ints(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


if __name__ == "__main__":
    main()

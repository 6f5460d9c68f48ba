"""Writes the accuracy sections of docs/benchmarks.md, beside Torch-Pruning.

`make bench-accuracy` measures all sections; `python benchmarks/accuracy/main.py SECTION...` some of them.
Needs ../shared/data (or $EDGEPRUNE_DATA) and hours on two cores; leave the machine alone meanwhile. Training
takes an accelerator: `--kept FILE` writes the recovery section from the lines that recovery.py left there.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.accuracy import ablation, recovery, tables, training_free
from benchmarks.accuracy.rows import row
from benchmarks.accuracy.scale import Scale
from benchmarks.accuracy.screening_cost import screening_cost
from benchmarks.accuracy.starts import OURS, PEER, Cut
from benchmarks.accuracy.subjects import DATA, Subject, subject_of
from benchmarks.accuracy.trial import NoSuchSwitchError, Outcome, Trial, carried_out
from benchmarks.document import PAGE, header, order
from benchmarks.page import put_section, say, taken, versions
from edgeprune.core.registry import names
from edgeprune.core.report import Quality
from edgeprune.pipeline.compress import DEFAULT_CRITERION
from edgeprune.stages.finetune import BATCH

ROOT = Path(__file__).parents[2]
HERE = ROOT / "build" / "recovery" / "here.jsonl"
"""The lines of runs on this machine."""
PACKAGES = ("torch", "statsmodels", "scipy", "torch-pruning")
_RATES = {OURS: 0.005, PEER: 0.05, recovery.DISTILLED: 0.005}
"""Peaks for ten epochs: of gradients for the peer's own row, of orthogonal steps for the others, where 0.02
left a larger loss on the selection images."""
_CALIBRATION = {"fashion": 2_000, "resnet20": 2_000, "resnet56": 1_000}
"""Images: on two cores the refit of ResNet-56 gets on with 1,000 in three minutes."""
_UNLABELLED = "l2"
"""The criterion of tables that do without labels."""
_CLOSE = ("screening", "l2", "l1", "fpgm", "refit", "random")
"""Criteria that one draw of images does not tell apart, and the floor; `lamp` ranks as `l2`, and `group-l2`
as `screening` does where F has no weight."""
_DRAWS = (0, 1, 2)
_UNTOUCHED = "(untouched)"
_SPEEDUPS = {"resnet56": (2.0, 2.5), "resnet20": (2.0,)}


@dataclass(frozen=True, slots=True)
class Request:
    """How it is measured, and what is kept of another machine's runs."""

    criterion: str | None
    """None for the default, and for one without labels where a table does without them."""
    calibration: int | None
    """Images; None for what suits the network."""
    test: int | None
    multiple: int
    only: tuple[str, ...]
    """Criteria or ablations by name; all without."""
    kept: Path | None
    epochs: int
    images: int | None
    """To train on."""

    def scale_of(self, network: str, default: str = DEFAULT_CRITERION) -> Scale:
        """The scale of a network's tables, with their default criterion."""
        images = self.calibration or _CALIBRATION[network]
        return Scale(self.criterion or default, images, self.test, self.multiple)


def main() -> None:
    """Measure the sections named on the command line (all without) and put them into the page."""
    options = _options()
    if not DATA.is_dir():
        sys.exit(f"error: {DATA} is absent\nhint: set EDGEPRUNE_DATA to the folder with cifar10.npz")
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        sys.exit(f"error: no section {', '.join(sorted(unknown))}\nhint: {', '.join(SECTIONS)}")
    request = Request(
        options.criterion,
        options.calibration,
        options.test,
        options.multiple,
        tuple(one for one in options.only.split(",") if one),
        options.kept,
        options.epochs,
        options.images,
    )
    for name in options.sections or SECTIONS:
        lines = SECTIONS[name](request)
        if options.page is None:
            print("\n".join(lines))
        else:
            put_section(options.page, header(), order(SECTIONS), name, [*lines, "", taken()])
        say(f"{name}: done")


def training_free_section(network: str, request: Request) -> list[str]:
    scale = request.scale_of(network, _UNLABELLED)
    lines = [f"## {network} cut without labels or training", "", _TRAINING_FREE, scale.words()]
    lines += [f"Channels are ranked by `{scale.criterion}`.", ""]
    for speedup in _SPEEDUPS[network]:
        say(f"{network} at {speedup:g}x")
        rows = training_free.rows(network, speedup, scale)
        lines += [f"At least {speedup:g}x fewer MACs:", "", *tables.training_free_table(rows), ""]
    return [*lines, f"{versions(PACKAGES)}."]


def criteria_section(network: str, request: Request) -> list[str]:
    scale, subject = request.scale_of(network), subject_of(network)
    splits, rows = scale.splits(subject), []
    untouched = _untouched(network, scale)
    for name in names("criteria"):
        if not request.only or name in request.only:
            say(f"{network}: criterion {name}")
            trial = Trial(name, name, judge_cut=True)
            measure = partial(carried_out, trial, subject, splits, 2.0, scale.multiple)
            rows.append(row(f"criteria-{network}", name, scale, measure))
    return [
        f"## Criteria on {network}, 2x fewer MACs",
        "",
        _CRITERIA,
        scale.words(),
        "",
        *tables.criteria_table(untouched, rows, scale.criterion),
    ]


def draws_section(request: Request) -> list[str]:
    """The closest criteria on every network, for several draws of images."""
    compared = [one for one in _CLOSE if not request.only or one in request.only]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in (_UNTOUCHED, *compared)}
    for network in _CALIBRATION:
        subject, scale = subject_of(network), request.scale_of(network)
        found[_UNTOUCHED][network] = [_untouched(network, scale).top1] * len(_DRAWS)
        for seed, name in itertools.product(_DRAWS, compared):
            say(f"{network}: criterion {name}, draw {seed}")
            drawn = dataclasses.replace(scale, seed=seed)
            measure = partial(_drawn, Trial(name, name), subject, drawn)
            outcome = row(f"draws-{network}-{seed}", name, drawn, measure)
            found[name].setdefault(network, []).append(outcome.quality.top1)
    images = ", ".join(f"{request.scale_of(one).calibration:,} on {one}" for one in _CALIBRATION)
    return [
        "## Criteria over several draws of images, 2x fewer MACs",
        "",
        _OVER_DRAWS,
        f"Draws: {len(_DRAWS)}. Calibration images: {images}; accuracy on {scale.tested} test images.",
        "",
        *tables.draws_table(found, scale.criterion),
    ]


def _untouched(network: str, scale: Scale) -> Quality:
    measure = partial(training_free.untouched, network, scale)
    return row(f"criteria-{network}", "untouched", scale, measure).quality


def _drawn(trial: Trial, subject: Subject, scale: Scale) -> Outcome:
    return carried_out(trial, subject, scale.splits(subject), 2.0, scale.multiple, seed=scale.seed)


def ablation_section(network: str, request: Request) -> list[str]:
    scale, subject = request.scale_of(network), subject_of(network)
    splits, rows, missing = scale.splits(subject), [], {}
    for trial in ablation.trials(scale.criterion):
        if request.only and trial.name not in (ablation.DEFAULT, *request.only):
            continue
        say(f"{network}: {trial.name}")
        try:
            measure = partial(carried_out, trial, subject, splits, 2.0, scale.multiple)
            rows.append(row(f"ablation-{network}", trial.name, scale, measure))
        except NoSuchSwitchError as error:
            missing[trial.name] = str(error)
    return [
        f"## What each part is worth: {network}, 2x fewer MACs, no training",
        "",
        _ABLATION,
        scale.words(),
        "",
        *tables.ablation_table(rows, missing),
    ]


def screening_section(request: Request) -> list[str]:
    networks = [one for one in ("resnet56", "resnet20") if not request.only or one in request.only]
    rows = [screening_cost(one, request.scale_of(one)) for one in networks]
    return ["## What screening costs", "", _SCREENING, "", *tables.screening_table(rows)]


def recovery_section(request: Request) -> list[str]:
    """Lines that are kept, and where there are none, one seed on this machine."""
    if request.kept is None:
        _recover_here(request)
    lines = tables.read_lines(request.kept or HERE)
    tested = sorted({f"{line['tested']:,}" for line in lines})
    return [
        "## Recovery: the same epochs for all",
        "",
        _RECOVERY,
        f"Test images: {' or '.join(tested)}.",
        "",
        *tables.recovery_table(lines),
    ]


def _recover_here(request: Request) -> None:
    scale = request.scale_of("resnet56")
    work = [
        recovery.Run(
            row=row,
            cut=Cut(
                maker=OURS if row == OURS else PEER,
                network="resnet56",
                speedup=2.1,
                seed=0,
                criterion=scale.criterion,
                multiple=scale.multiple,
                calibration=scale.calibration,
            ),
            epochs=request.epochs,
            rate=_RATES.get(row, _RATES[OURS]),
            batch=BATCH,
            augment="flip",
            images=request.images,
            test=scale.test,
            threads=os.cpu_count() or 1,
            fastest=False,
        )
        for row in recovery.ROWS
    ]
    HERE.unlink(missing_ok=True)
    recovery.carry_out(work, recovery.Places(None, None, None), HERE, jobs=1)


_TRAINING_FREE = """Torch-Pruning with its default arguments (one shot, the same share of every layer, the
classifier ignored), its share found by halving until the MACs are edgeprune's or less. Seconds are those
of the whole way from the module to the refitted network, for Torch-Pruning those of one cut; each row has
a process of its own.
Peak memory is the most that process held, images and the judging included."""
_CRITERIA = """Every criterion plans its own widths. Top-1 right after the cut and after the refit;
divergence is what the refit leaves of the output difference on the selection images. `random` is the
floor, the untouched network the ceiling."""
_OVER_DRAWS = """Calibration and selection images drawn anew for each. Per network the mean of top-1 % after
the refit over the draws, in brackets its standard deviation; then the mean over the networks, and by how
much a criterion is ahead of the default: the mean over networks and draws of the difference on the same
images, with its 95 % interval (paired t, all of these differences taken as independent)."""
_ABLATION = """One part exchanged or left out at a time. Parts without an option are turned off by giving
private names of the stages another value (benchmarks/accuracy/ablation.py)."""
_SCREENING = """Moments per channel and class on a captured program, against the program alone, batch by
batch in turn; medians of seven rounds. What is kept is two numbers per channel and class, whatever the
number of images. Tests hold that F equals scipy.stats.f_oneway: of moments alone to 1e-9
(tests/core/test_moments.py); of a captured program's stored activations to 1e-6 where they are averaged over
positions in float32, as they are streamed, and to 1e-5 where in double; and that shards of its batches merge
to the same numbers (tests/graph/test_evidence.py)."""
_RECOVERY = """Written from one line per run of benchmarks/accuracy/recovery.py. `edgeprune` starts from
its refitted network and learns the original's answers and the labels; `Torch-Pruning` (group L2, all layers
compared with each other, one shot, the classifier ignored) learns the labels by cross-entropy and goes by
gradients, as its own scripts do; `distilled` is trained as edgeprune's networks are.
Images, epochs and course are the same, batches and the peak of the rate are in the table.
Accuracy is that of the last epoch's weights or their average, which of them (or of the start) the selection
images choose; of the test images only the original's answers have a word in that
(decisions/0015-known-images.md)."""

SECTIONS: dict[str, Callable[[Request], list[str]]] = {
    "training-free-resnet56": partial(training_free_section, "resnet56"),
    "training-free-resnet20": partial(training_free_section, "resnet20"),
    "recovery": recovery_section,
    "criteria-resnet56": partial(criteria_section, "resnet56"),
    "criteria-resnet20": partial(criteria_section, "resnet20"),
    "criteria-fashion": partial(criteria_section, "fashion"),
    "criteria-draws": draws_section,
    "ablation-resnet56": partial(ablation_section, "resnet56"),
    "ablation-resnet20": partial(ablation_section, "resnet20"),
    "screening-cost": screening_section,
}


def _options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="measure accuracy and write docs/benchmarks.md")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--kept", type=Path, metavar="FILE", help="lines of recovery.py, not measured again")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these criteria, ablations, networks")
    parser.add_argument(
        "--criterion", help=f"default {DEFAULT_CRITERION}, {_UNLABELLED} where labels are not used"
    )
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--calibration", type=int, help=f"default {_CALIBRATION}")
    parser.add_argument("--test", type=int, help="test images, of all")
    parser.add_argument("--epochs", type=int, default=10, help="of recovery on this machine")
    parser.add_argument("--images", type=int, help="to train on, of all")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", dest="page", action="store_const", const=None, help="leave the page alone")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()

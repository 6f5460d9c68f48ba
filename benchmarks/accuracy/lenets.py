"""Writes the sections of docs/benchmarks.md on the MNIST networks: single connections, and whole channels.

    python -m benchmarks.accuracy.lenets [connections] [structured] [--only NETWORK[:CRITERION]]

Needs MNIST in ../shared/data (or $EDGEPRUNE_DATA). Every row is one `edgeprune compress` run in runs/lenets;
what is finished there is not done again, so the script can be stopped, and the table holds the rows that
there are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.page import replace_section, say, taken
from edgeprune.core.report import Report

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
MODELS = ROOT / "models" / "mnist"
RUNS = ROOT / "runs" / "lenets"
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
TARGET = "x86-64"


@dataclass(frozen=True)
class Row:
    """One run: a network, what goes of it, and how long it is trained."""

    network: str
    criterion: str
    budget: tuple[str, ...]
    training: tuple[str, ...]
    after: Row | None = None
    """The run whose network this one goes on from."""

    @property
    def folder(self) -> Path:
        """Where the run is kept: a row with other settings is another run."""
        words = "-".join(word.strip("-") for word in (*self.budget, *self.training))
        narrow = "-narrow" if self.after is not None else ""
        return RUNS / f"{self.network}{narrow}-{self.criterion}-{words}"

    @property
    def source(self) -> list[str]:
        """The network, and what builds it."""
        if self.after is not None:
            return [f"runs/lenets/{self.network}-narrow/{self.network}_narrow.pt2"]
        return [f"models/mnist/{self.network}.pt", "--arch", f"models/mnist/model.py:{self.network}"]

    @property
    def ranking(self) -> tuple[str, ...]:
        """The option that chooses the criterion; none for the default."""
        return () if self.criterion == "screening" else ("--criterion", self.criterion)

    def command(self) -> list[str]:
        """The run as it is typed."""
        return [
            *("edgeprune", "compress", *self.source, "--target", TARGET, "--format", "onnx"),
            *(*self.budget, *self.training, "--augment", "none", *self.ranking),
        ]


def thin(network: str, times: str, criterion: str, *training: str) -> Row:
    return Row(network, criterion, ("--granularity", "connection", "--sparsity", times), training)


def narrow(network: str, parameters: str, criterion: str, *training: str) -> Row:
    return Row(network, criterion, ("--params", parameters), training)


CRITERIA = ("screening", "l2", "random")
OF_CONNECTIONS = ("screening", "taylor", "l2", "random")
LENET_300_100 = ("--epochs", "40", "--learning-rate", "0.2")
NARROW = ("--epochs", "24", "--learning-rate", "0.05", "--batch-size", "64")
"""Smaller batches answered more held-out training images right twice (docs/decisions/0030-connections.md)."""
STRUCTURED = (
    *(narrow("lenet_5", "64k", one, "--epochs", "4", "--learning-rate", "0.03") for one in CRITERIA),
    *(narrow("mlp", "81800", one, "--epochs", "15", "--learning-rate", "0.05") for one in CRITERIA),
)
CONNECTIONS = (
    *(thin("lenet_300_100", "70.5x", one, *LENET_300_100) for one in OF_CONNECTIONS),
    thin("lenet_300_100", "75x", "screening", *LENET_300_100),
    # Channels first, so that the rounds of connections train a seventh of the network; 28.9x of what is left.
    *(replace(thin("lenet_5", "28.9x", one, *NARROW), after=STRUCTURED[0]) for one in OF_CONNECTIONS),
)
CONNECTIONS_TEXT = """\
Seed 0. Connections go in rounds of an epoch each, on the cubic schedule of Zhu & Gupta (2017), at the peak
of the learning rate, which falls in the last round, of half the epochs. Zeros stay zero. Trained on 59,500
images with the original's answers and the labels; 500 other training images choose between last and
averaged weights and, for `screening`, the weight of F. Errors are those of the finished network on the
10,000 test images, with their 95 % Wilson interval. "Parameters" counts biases, too; "packed" is the
float32 ONNX file in bytes after zlib at level 9. "Narrow" rows go on from the network whose channels were
cut first (the section on whole channels). Published beside it (README of the variational-dropout code):
LeNet-300-100 1.92 % at 68x (SparseVD), 1.99 % at 56x (DNS); LeNet-5-Caffe 0.75 % at 280x (SparseVD), 0.91 %
at 111x (DNS)."""
STRUCTURED_TEXT = """\
The same networks with whole channels gone: a budget of parameters, the refit, then a few epochs. Published
beside it: LeNet-5-Caffe 1.0 % (BC-GHS, 5-10-76-16), the perceptron 1.49 % with 84.4 % of the parameters gone
(network slimming)."""
WEIGHTS = {"lenet_300_100": 266_200, "lenet_5": 430_500, "mlp": 545_000}
HEAD = "network criterion epochs error_% interval original_% weights fewer parameters fewer packed".split()


def main() -> None:
    """Run the rows of the named sections (all without a name) and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS])
    parser.add_argument("--only", default="", help="run these rows only: NETWORK or NETWORK:CRITERION")
    parser.add_argument("--table", action="store_true", help="run nothing, write what is finished")
    given = parser.parse_args()
    network, _, criterion = given.only.partition(":")
    for name in given.sections or SECTIONS:
        title, text, rows = SECTIONS[name]
        for row in rows:
            wanted = row.network == (network or row.network) and row.criterion == (criterion or row.criterion)
            if wanted and not given.table:
                run(row)
        replace_section(PAGE, f"mnist-{name}", [f"## {title}", "", text, "", *table(rows), "", taken()])
        say(f"{name}: written")


def run(row: Row) -> None:
    if (row.folder / "report.json").is_file():
        return
    if row.after is not None:
        run(row.after)
        prepare(ROOT / row.source[0], row.after)
    say(" ".join(row.command()))
    environment = {**os.environ, "EDGEPRUNE_DATA": str(DATA)}
    subprocess.run(
        [sys.executable, "-m", *row.command(), "--out", str(row.folder), "--quiet"],
        check=True,
        cwd=ROOT,
        env=environment,
    )


def prepare(path: Path, before: Row) -> None:
    """The network of another run, with the recipe beside it that says how images are read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(before.folder / "model.pt2", path)
    recipe = (MODELS / "edgeprune.toml").read_text(encoding="utf-8")
    recipe = recipe.replace("data.py:mnist", f"{MODELS}/data.py:mnist")
    (path.parent / "edgeprune.toml").write_text(recipe, encoding="utf-8")


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {' | '.join(HEAD)} |".replace("_", " ")
    yield "|---" * len(HEAD) + "|"
    for row in rows:
        if (row.folder / "report.json").is_file():
            yield line(row, Report.load(row.folder / "report.json"))
        else:
            yield f"| {name_of(row)} | {row.criterion} | | not run yet | | | | | | | |"
    yield ""
    yield "Commands, `--criterion` and `--out` aside:"
    yield ""
    for row in rows:
        if not row.ranking:
            yield f"    {' '.join(row.command())}"


def line(row: Row, report: Report) -> str:
    first = report if row.after is None else Report.load(row.after.folder / "report.json")
    original, shrunk, before = first.quality.original, report.quality.shrunk, first.cost.before.parameters
    assert original is not None
    assert report.finetuning is not None
    assert shrunk is not None
    after = report.thinned.parameters if report.thinned is not None else report.cost.after.parameters
    weights, fewer, packed = "", "", ""
    if report.thinned is not None:
        kept = sum(report.thinned.kept.values())
        weights, fewer = f"{kept:,}", f"{WEIGHTS[row.network] / kept:.1f}x"
        (file,) = (one for one in report.artifacts if one.precision == "fp32")
        packed = f"{file.deflated or 0:,}"
    low, high = shrunk.interval
    epochs = report.finetuning.epochs
    error, interval = f"{100 - shrunk.top1:.2f}", f"{100 - high:.2f}-{100 - low:.2f}"
    return (
        f"| {name_of(row)} | {row.criterion} | {epochs} | {error} | {interval} | {100 - original.top1:.2f} | "
        f"{weights} | {fewer} | {after:,} | {before / after:.1f}x | {packed} |"
    )


def name_of(row: Row) -> str:
    return f"{row.network}, narrow" if row.after is not None else row.network


SECTIONS = {
    "connections": ("MNIST, single connections", CONNECTIONS_TEXT, CONNECTIONS),
    "structured": ("MNIST, whole channels", STRUCTURED_TEXT, STRUCTURED),
}


if __name__ == "__main__":
    main()

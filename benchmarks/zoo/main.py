"""Writes docs/zoo.md: half of every free group of whole zoos cut at once, proven, beside Torch-Pruning.

`make zoo` measures all sections; `python benchmarks/zoo/main.py SECTION...` some of them. Results are kept
in build/zoo, so that an interrupted run goes on; a change of the sources, or `--fresh`, measures again.
Every section runs in processes of its own; leave the machine alone meanwhile.

The random networks may be drawn elsewhere, from a checkout in which nothing is installed:
`PYTHONPATH=. python benchmarks/zoo/main.py random --processes 16 --lines FILE --only 0`, all without
`--only`. `main.py random --kept --lines FILE` writes such lines into the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import put_section, say, taken, versions
from benchmarks.zoo.jobs import NOT_MEASURED, RESULTS, ROOT, Job, Lines, Result, kept_results, run_jobs
from benchmarks.zoo.networks import Network, timm_networks, torchvision_networks
from benchmarks.zoo.patterns import PATTERNS
from benchmarks.zoo.random_networks import CHUNK, EXAMPLES, PLANS
from benchmarks.zoo.reductions import REDUCTIONS
from benchmarks.zoo.scales import PEER_TIMEOUT_S, ROUNDS, SCALES
from benchmarks.zoo.tables import (
    cutting_table,
    cutting_totals,
    pattern_table,
    pattern_totals,
    random_lines,
    reason_totals,
    reduction_table,
    scaling_table,
    time_and_memory,
    verdict,
)

PAGE = ROOT / "docs" / "zoo.md"
PACKAGES = "torch torchvision timm torch-pruning hypothesis".split()


@dataclass(frozen=True, slots=True)
class Request:
    """What is measured again, which networks (all without), and how the random ones are shared out."""

    fresh: bool = False
    kept: bool = False
    only: tuple[str, ...] = ()
    processes: int = 2
    lines: Path = RESULTS / "random.jsonl"

    def chosen(self, names: Sequence[str]) -> list[str]:
        """The names that were asked for, in their order."""
        return [name for name in names if not self.only or name in self.only]


def main() -> None:
    """Measure the sections named on the command line (all without) and put them into the page."""
    parser = argparse.ArgumentParser(description="measure the zoo and write docs/zoo.md")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept in build/zoo")
    parser.add_argument("--kept", action="store_true", help="write the page from what is kept in build/zoo")
    parser.add_argument("--only", default="", metavar="NAME,...", help="print these rows, leave the page")
    parser.add_argument(
        "--processes", type=int, default=2, help="how many draw random networks at once (default: 2)"
    )
    parser.add_argument(
        "--lines", type=Path, default=Request.lines, metavar="FILE", help="JSON lines of the random networks"
    )
    parser.add_argument("--note", default="", help="a remark for the sections, on how they were measured")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    only = tuple(filter(None, options.only.split(",")))
    request = Request(options.fresh, options.kept, only, options.processes, options.lines)
    for name in options.sections or SECTIONS:
        lines = SECTIONS[name](request)
        if request.only:
            print("\n".join(lines))
        else:
            # The lines of random networks say themselves where each was drawn.
            here = [] if name == "random" else [taken(), f"{versions(PACKAGES)}."]
            footer = [*here, *([options.note] if options.note else [])]
            put_section(PAGE, HEADER, SECTIONS, name, [*lines, *(["", *footer] if footer else [])])
        say(f"{name}: done")


HEADER = """# Zoo

Written by `make zoo`, which measures the sections below one after the other; each says when and on what.

- Weights are random (seed 0) and nothing is downloaded. No parameter or batch-norm statistic is left at a
  constant: a layer scale of 1e-6 or a classifier of zeros would hide a wrong cut.
- The oracle compares the shrunk network with the original whose cut channels are silenced, in float64, on
  two inputs: largest difference relative to the largest output. It fails above 1e-9.
- Every measurement has a process of its own, and only one runs at a time (random networks: several), so
  that seconds are those of a machine that does nothing else, with torch's default number of threads. Before
  the clock starts a network of two layers is captured and cut, since the first export of a process loads
  several hundred modules of torch (about two seconds and 100 MB).
"""

CUTTING_TEXT = (
    "Half of the units of every free group, of all kinds, are cut at once. Seconds are capture / couple /\n"
    "shrink. Peak memory is what resident memory rose by during these three, in brackets as a multiple of\n"
    "the model's parameters and buffers; the oracle is not in it. Then: oracle, forward of both networks,\n"
    "capture of the shrunk one, predicted MACs and parameters against those counted in it."
)


def torchvision_section(request: Request) -> list[str]:
    networks = torchvision_networks()
    wanted = request.chosen([one.name for one in networks])
    return [
        "## torchvision",
        "",
        "Every builder for classification, segmentation, detection, video and optical flow.",
        *cutting_lines([one for one in networks if one.name in wanted], request),
    ]


def timm_section(request: Request) -> list[str]:
    networks = timm_networks()
    wanted = request.chosen([one.name for one in networks])
    return [
        "## timm",
        "",
        "Models of as many families as possible, small variants preferred.",
        *cutting_lines([one for one in networks if one.name in wanted], request),
    ]


def cutting_lines(networks: Sequence[Network], request: Request) -> list[str]:
    jobs = [Job("network", (one.source, one.name, one.family)) for one in networks]
    rows = kept_results(jobs) if request.kept else run_jobs(jobs, fresh=request.fresh)
    named = [(one.name, row) for one, row in zip(networks, rows, strict=True)]
    missing = [name for name, row in named if verdict(row) == NOT_MEASURED]
    named = [(name, row) for name, row in named if name not in missing]
    return [
        CUTTING_TEXT,
        "",
        *cutting_totals(rows),
        "",
        *time_and_memory(named),
        "",
        *cutting_table(named),
        *(["", f"Not measured: {', '.join(missing)}."] if missing else []),
        "",
        *reason_totals(rows),
    ]


PEERS_TEXT = (
    "Half of each group of channels goes and then more until a multiple of 8 indices is left; a group that\n"
    "would keep none stays whole: the rule of Torch-Pruning's `round_to=8`. Only groups of kind channels\n"
    "are cut (no heads, groups or blocks), for convnext_tiny and vit_b_16 also streams under layer norms.\n"
    "Torch-Pruning: `BasePruner`, `MagnitudeImportance(p=2)`, `pruning_ratio=0.5`,\n"
    "`global_pruning=False`, `round_to=8`, the last layer ignored. GMACs before -> after by each tool's own\n"
    "counter and by `torch.utils.flop_counter` (halved); seconds from module to shrunk module. `asked` is\n"
    "what Torch-Pruning had reached before this page existed; the last column compares shares left with\n"
    "that bar and, by torch's counter, with this run."
)


def peers_section(request: Request) -> list[str]:
    names = request.chosen(list(REDUCTIONS))
    jobs = [Job("reduction", (side, name)) for name in names for side in ("edgeprune", "torch-pruning")]
    rows = run_jobs(jobs, fresh=request.fresh)
    pairs = zip(names, rows[::2], rows[1::2], strict=True)
    table = reduction_table((name, REDUCTIONS[name], ours, theirs) for name, ours, theirs in pairs)
    return ["## Reduction at ratio 0.5, beside Torch-Pruning", "", PEERS_TEXT, "", *table]


SCALING_TEXT = (
    f"Median of {ROUNDS} rounds, smallest and largest in brackets; the tools take turns within a round.\n"
    "Screening is by magnitude, `plan` the search for 1.3x fewer MACs. Torch-Pruning: its dependency\n"
    f"graph, then one step at ratio 0.5, given up after {PEER_TIMEOUT_S} s for both."
)


def scaling_section(request: Request) -> list[str]:
    names = request.chosen(SCALES)
    rows: dict[tuple[str, str], list[Result]] = {
        (name, side): [] for name in names for side in ("edgeprune", "torch-pruning")
    }
    for round in range(1, ROUNDS + 1):
        for (name, side), found in rows.items():
            if side == "torch-pruning" and found and found[0].get("crash"):
                continue  # what crashed or was given up once is not waited for again
            limit = PEER_TIMEOUT_S if side == "torch-pruning" else 600
            found += run_jobs([Job("scale", (side, name, str(round)), limit)], fresh=request.fresh)
    table = scaling_table((name, rows[name, "edgeprune"], rows[name, "torch-pruning"]) for name in names)
    return ["## Seconds against the nodes of the graph", "", SCALING_TEXT, "", *table]


PATTERNS_TEXT = (
    "The patterns at which structural pruning breaks, as the smallest networks of `tests/zoo.py` that show\n"
    "them. edgeprune: oracle error with half of every free group cut. Torch-Pruning on the same network:\n"
    "every second output of each layer in turn, with all that it couples to it, and one whole step at\n"
    "ratio 0.5. The producers of what goes are set to zero first, so that the features are exactly zero and\n"
    "a right cut changes nothing (float64, wrong above 1e-9). The worst of these is shown, and where.\n"
    "Views in these networks name their sizes as numbers, as much code does; several crashes below are\n"
    "those numbers, which Torch-Pruning asks its user to edit by hand."
)


def patterns_section(request: Request) -> list[str]:
    chosen = request.chosen(list(PATTERNS.values()))
    pairs = [(pattern, one) for pattern, one in PATTERNS.items() if one in chosen]
    rows = run_jobs([Job("pattern", (one,), 150) for _, one in pairs], fresh=request.fresh)
    table = pattern_table((pattern, one, row) for (pattern, one), row in zip(pairs, rows, strict=True))
    return ["## Patterns", "", PATTERNS_TEXT, "", *pattern_totals(rows), "", *table]


RANDOM_TEXT = (
    "The property test of `tests/graph/test_properties.py`: networks composed at random of the blocks\n"
    f"there, {PLANS} plans for each with random kept units for every free group, checked for exactness,\n"
    "output shape and predicted cost."
)


def random_section(request: Request) -> list[str]:
    seeds = request.chosen([str(number) for number in range(EXAMPLES // CHUNK)])
    jobs = [Job("random", (number, str(CHUNK)), 3600) for number in seeds]
    lines = Lines(request.lines, "random")
    if not request.kept:
        done = set() if request.fresh else set(lines.read(current=True))
        missing = [job for job in jobs if job.name not in done]
        run_jobs(missing, fresh=request.fresh, at_once=request.processes, note=lines.add)
    found = lines.read()
    rows = [found.get(job.name, {"refused": NOT_MEASURED}) for job in jobs]
    return ["## Random networks", "", RANDOM_TEXT, "", *random_lines(rows)]


SECTIONS: dict[str, Callable[[Request], list[str]]] = {
    "torchvision": torchvision_section,
    "timm": timm_section,
    "peers": peers_section,
    "scaling": scaling_section,
    "patterns": patterns_section,
    "random": random_section,
}


if __name__ == "__main__":
    main()

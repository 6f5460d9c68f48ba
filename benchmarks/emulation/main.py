"""The emulated boards' section of docs/benchmarks.md: answers and instructions before and after a 2x cut.

    python -m benchmarks.emulation.main [NETWORK...]

`make bench-emulation`. Needs qemu-user, and ../shared/data (or $EDGEPRUNE_DATA) for ResNet-56. Counts do not
depend on how busy the machine is, so it may run beside other work. Networks that are named are measured
again; without names, those of which nothing is kept that these sources measured.
"""

from __future__ import annotations

import sys

from benchmarks.document import PAGE, header, order
from benchmarks.emulation.measure import NETWORKS, measure
from benchmarks.kept import Result, digest, keep, read, to_measure
from benchmarks.page import put_section, say, versions
from edgeprune.core.emulation import EmulatedFile, Emulation
from edgeprune.core.units import format_count

NAME = "emulation"
PACKAGES = "torch torchvision onnx onnxruntime litert-torch ai-edge-quantizer ai-edge-litert".split()
SOURCES = (
    "edgeprune/graph",
    "edgeprune/plugins/exporters",
    "edgeprune/plugins/quantizers",
    "edgeprune/stages/emulate",
    "edgeprune/stages/export.py",
    "benchmarks/emulation/measure.py",
)


def main() -> None:
    """Run networks on every board; the section shows what is kept, and grows network by network."""
    sources = digest(SOURCES)
    for name in to_measure(NAME, tuple(NETWORKS), sys.argv[1:], sources):
        say(f"{name}: begun")
        keep(NAME, name, measure(NETWORKS[name]), sources)
        put_section(PAGE, header(), order([NAME]), NAME, section())
        say(f"{name}: done")
    put_section(PAGE, header(), order([NAME]), NAME, section())


def section() -> list[str]:
    """Everything that is kept."""
    kept = {network.title: found for name, network in NETWORKS.items() if (found := read(NAME, name))}
    rows = [line for title, found in kept.items() for line in _rows(title, found)]
    notes = [line for title, found in kept.items() for line in _differences(title, found)]
    spread = sorted(one for found in kept.values() for one in _spread(found))
    signals = [line for title, found in kept.items() for line in _signals(title, found)]
    taken = [f"{title} {found['taken']} UTC on {found['machine']}" for title, found in kept.items()]
    return [
        "## Emulated boards",
        "",
        "The real aarch64 kernels of onnxruntime and LiteRT under qemu-user, with the core and the",
        "`/proc/cpuinfo` of each board, one thread; answers beside this machine's to the same noise.",
        "Instructions of one inference, the cheapest of five. They are work, not latency. Random weights",
        "but for ResNet-56, batch norms with the statistics of noise; cuts by magnitude. Equal",
        "answers say the more, the less of them is noise: what of float32's answers changes with the input",
        "stands above what int8's differ by, on this machine, for 32 inputs, before the cut, by",
        f"{'; '.join(signals)}.",
        "",
        "| network | MACs | file | board | answers before | after the cut | instructions before | after "
        "| fewer | of these float multiply-adds | dot products | integer multiply-adds | loads and stores |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *(notes or ["Every int8 file answered equal to the bit."]),
        "",
        f"The dearest of the five inferences took up to {100 * spread[-1]:.2g} % more than the cheapest "
        f"(median {100 * spread[len(spread) // 2]:.2g} %).",
        "",
        f"{versions(PACKAGES)}. Taken: {'; '.join(taken)}.",
    ]


def _pair(found: Result) -> tuple[Emulation, Emulation]:
    return Emulation.model_validate(found["before"]), Emulation.model_validate(found["after"])


def _rows(title: str, found: Result) -> list[str]:
    before, after = _pair(found)
    macs = " -> ".join(map(format_count, found["macs"]))
    return [_row(f"{title} | {macs}", *pair) for pair in zip(before.files, after.files, strict=True)]


def _row(head: str, before: EmulatedFile, after: EmulatedFile) -> str:
    first, second = before.instructions, after.instructions
    assert first is not None
    assert second is not None
    return (
        f"| {head} | {before.format} {before.precision} | "
        f"{before.board} | {_answers(before)} | {_answers(after)} | {format_count(first.total)} | "
        f"{format_count(second.total)} | {first.total / second.total:.2f}x | "
        f"{format_count(second.float_multiply_add)} | {format_count(second.dot_product)} | "
        f"{format_count(second.integer_multiply_add)} | {format_count(second.load_store)} |"
    )


def _answers(file: EmulatedFile) -> str:
    found = file.likeness
    if found.equal:
        return "equal"
    if found.max_lsb is not None:
        return f"{found.max_lsb:g} steps"
    return "not finite" if found.relative is None else f"{found.relative:.0e}"


def _differences(title: str, found: Result) -> list[str]:
    """What is to be said about integer files that answer otherwise, and of float32 ones that do too much."""
    boards: dict[str, list[str]] = {}
    for when, one in zip(("before", "after the cut"), _pair(found), strict=True):
        for file in one.files:
            if file.why and (file.precision != "fp32" or not file.passed):
                why = file.why if file.precision != "fp32" else f"{file.why}; {_own(file, found)}"
                line = f"- {title}, {when}, {file.format} {file.precision}: {why}"
                boards.setdefault(line, []).append(file.board)
    return [f"{line} ({', '.join(names)})" for line, names in boards.items()]


def _own(file: EmulatedFile, found: Result) -> str:
    return f"on this machine it lies {found['rounding'][file.format]:.1e} from the answers in float64"


def _signals(title: str, found: Result) -> list[str]:
    return [f"{signal:.0f} dB ({title}, {format})" for format, signal in found["signal_db"].items()]


def _spread(found: Result) -> list[float]:
    return [
        max(file.instructions.totals) / file.instructions.total - 1
        for one in _pair(found)
        for file in one.files
        if file.instructions
    ]


if __name__ == "__main__":
    main()

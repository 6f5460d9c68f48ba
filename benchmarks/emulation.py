"""The emulated boards' section of docs/benchmarks.md: answers and instructions before and after a 2x cut.

`make bench-emulation`. Needs qemu-user, and ../shared/data (or $EDGEPRUNE_DATA) for ResNet-56. Counts do not
depend on how busy the machine is, so it may run beside other work.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.document import PAGE, header, order
from benchmarks.memory import noise
from benchmarks.page import put_section, say, taken, versions
from benchmarks.readers import lived_in, vision
from edgeprune.core.emulation import EmulatedFile, Emulation
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.units import format_count
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.pipeline.emulate import emulate
from edgeprune.stages.export import export
from edgeprune.stages.load import load
from edgeprune.stages.plan import plan
from edgeprune.stages.quantize import quantize
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
BOARDS = ("rpi3", "rpi4", "rpi5")
NAME = "emulation"
PACKAGES = "torch torchvision onnx onnxruntime litert-torch ai-edge-quantizer ai-edge-litert".split()


def resnet56() -> Program:
    weights = DATA / "resnet_cifar10" / "resnet56-4bfd9763.th"
    if not weights.is_file():
        sys.exit(f"error: {weights} is absent\nhint: set EDGEPRUNE_DATA to the folder with resnet_cifar10")
    return load(weights, arch=f"{ROOT}/models/resnet_cifar/model.py:resnet56", input_size=(3, 32, 32))


def untrained(name: str, size: tuple[int, ...], **options: float) -> Callable[[], Program]:
    def make() -> Program:
        torch.manual_seed(0)
        net: nn.Module = lived_in(vision(name, **options)(), size)
        return capture(net, size)

    return make


NETWORKS: dict[str, Callable[[], Program]] = {
    "ResNet-56, 32x32": resnet56,
    "MobileNetV2 1.0, 96x96": untrained("mobilenet_v2", (3, 96, 96)),
    "MobileNetV3-small 1.0, 96x96": untrained("mobilenet_v3_small", (3, 96, 96)),
}


def main() -> None:
    """Run every network on every board; the section grows network by network."""
    rows: list[str] = []
    notes: list[str] = []
    spread: list[float] = []
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            found, macs = both(NETWORKS[name](), Path(folder))
        rows += [row(name, macs, *pair) for pair in zip(*(one.files for one in found), strict=True)]
        notes += [f"- {name}, {line}" for one in found for line in differences(one)]
        spread += [
            max(file.instructions.totals) / file.instructions.total - 1
            for one in found
            for file in one.files
            if file.instructions
        ]
        put_section(PAGE, header(), order([NAME]), NAME, section(rows, notes, spread))
        say(f"{name}: done")


def both(program: Program, folder: Path) -> tuple[tuple[Emulation, Emulation], tuple[int, int]]:
    """The network as it was and cut to half its MACs, on all boards; and the MACs of both."""
    coupling = couple(program)
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    cut = replay(coupling, plan(coupling, ranks, Budget(speedup=2.0), multiple=8))
    found = []
    for name, one in (("before", program), ("after", cut)):
        files(one, folder / name)
        say(f"{name}: on boards")
        found.append(emulate([folder / name], BOARDS, images=2))
    return (found[0], found[1]), (count(coupling).macs, count(couple(cut)).macs)


def files(program: Program, folder: Path) -> None:
    """Float32 and static int8 in both formats, ranges from noise."""
    folder.mkdir()
    floats, failed = export(program, ("onnx", "tflite"), folder, parent="")
    _, also_failed = quantize(floats, ["int8-static"], noise(32, program.input_size, 0), folder)
    assert not failed | also_failed, failed | also_failed


def row(name: str, macs: tuple[int, int], before: EmulatedFile, after: EmulatedFile) -> str:
    first, second = before.instructions, after.instructions
    assert first is not None
    assert second is not None
    return (
        f"| {name} | {' -> '.join(map(format_count, macs))} | {before.format} {before.precision} | "
        f"{before.board} | {answers(before)} | {answers(after)} | {format_count(first.total)} | "
        f"{format_count(second.total)} | {first.total / second.total:.2f}x | "
        f"{format_count(second.float_multiply_add)} | {format_count(second.dot_product)} | "
        f"{format_count(second.integer_multiply_add)} | {format_count(second.load_store)} |"
    )


def answers(file: EmulatedFile) -> str:
    found = file.likeness
    if found.equal:
        return "equal"
    if found.max_lsb is not None:
        return f"{found.max_lsb:g} steps"
    return "not finite" if found.relative is None else f"{found.relative:.0e}"


def differences(found: Emulation) -> list[str]:
    """What is to be said about integer files that do not answer equal to the bit."""
    return [
        f"{file.format} {file.precision} on {file.board}: {file.why}"
        for file in found.files
        if file.why and file.precision != "fp32"
    ]


def section(rows: list[str], notes: list[str], spread: list[float]) -> list[str]:
    return [
        "## Emulated boards",
        "",
        "The real aarch64 kernels of onnxruntime and LiteRT under qemu-user, with the core and the",
        "`/proc/cpuinfo` of each board, one thread; answers beside this machine's to the same noise.",
        "Instructions of one inference, the cheapest of five. They are work, not latency. Random weights",
        "but for ResNet-56; cuts by magnitude.",
        "",
        "| network | MACs | file | board | answers before | after the cut | instructions before | after "
        "| fewer | of these float multiply-adds | dot products | integer multiply-adds | loads and stores |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *(notes or ["Every int8 file answered equal to the bit."]),
        "",
        f"The dearest of the five inferences took up to {100 * max(spread):.2g} % more than the cheapest "
        f"(median {100 * sorted(spread)[len(spread) // 2]:.2g} %).",
        "",
        f"{versions(PACKAGES)}. {taken()}",
    ]


if __name__ == "__main__":
    main()

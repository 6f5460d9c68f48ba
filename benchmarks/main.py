"""Writes sections of docs/benchmarks.md: the main job on CIFAR-10 ResNets and untrained torchvision networks.

`make bench-main`. Needs ../shared/data (or $EDGEPRUNE_DATA) and about half an hour on two cores.
Leave the machine alone meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import memory, readers
from benchmarks.document import PAGE, header, order
from benchmarks.page import put_section, say, taken, versions
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.recipe import Preprocess
from edgeprune.core.report import Report
from edgeprune.core.samples import Samples, Split
from edgeprune.core.target import find_target
from edgeprune.stages.profile import profile
from edgeprune.stages.quantize import quantize

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
SPEEDUP = 2.0
TARGET = "rpi4"
PACKAGES = (
    "torch torchvision onnx onnxruntime litert-torch ai-edge-quantizer ai-edge-litert statsmodels"
).split()


@dataclass(frozen=True)
class Command:
    """One run of the command line, with what it cost."""

    report: Report
    seconds: float
    peak_gb: float


def main() -> None:
    """Measure the sections named on the command line (all without) and put them into the page."""
    if not DATA.is_dir():
        sys.exit(f"error: {DATA} is absent\nhint: set EDGEPRUNE_DATA to the folder with cifar10.npz")
    for name in sys.argv[1:] or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            lines = SECTIONS[name](Path(folder))
        lines += ["", words(), "", taken()]
        put_section(PAGE, header(), order(SECTIONS), name, lines)
        say(f"{name}: done")


def words() -> str:
    """What holds for the sections of this script."""
    return (
        "Seed 0. Calibration and selection images come from the training set, accuracy from all 10,000 "
        "test images; intervals are 95 % Wilson intervals. Latency is this machine's, "
        f"{target_threads()} threads, batch of one, files taking turns. Target {TARGET}: widths are "
        f"multiples of {find_target(TARGET).channels.multiple}; nothing was measured on that device. "
        f"{versions(PACKAGES)}."
    )


def compress_cifar(name: str, folder: Path) -> Command:
    say(f"edgeprune compress {name}")
    return run_command(
        DATA / "resnet_cifar10" / WEIGHTS[name],
        "--arch",
        f"{ROOT}/models/resnet_cifar/model.py:{name}",
        "--data",
        f"npz:{DATA}/cifar10.npz",
        "--speedup",
        str(SPEEDUP),
        out=folder / name,
    )


def run_command(model: Path, *options: str, out: Path) -> Command:
    command = [sys.executable, "-m", "edgeprune", "compress", str(model), "--target", TARGET]
    command += [*options, "--out", str(out), "--json", "--quiet"]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return Command(Report.parse(json.loads(done.stdout), source="--json"), seconds, peak)


def untrained_rows(name: str, folder: Path) -> tuple[str, Command, dict[str, tuple[float, float]]]:
    """A data-free run, then static int8 files calibrated on noise, for their speed only."""
    say(f"edgeprune compress {name}, untrained, data-free")
    torch.manual_seed(0)
    weights = folder / f"{name}.pt"
    torch.save(getattr(import_torchvision().models, name)().state_dict(), weights)
    out = folder / f"{name}-run"
    run = run_command(weights, "--arch", f"torchvision:{name}", "--input", "3x224x224", out=out)
    target = find_target("x86-64")
    floats = [one for one in run.report.artifacts if one.precision == "fp32"]
    static, failed = quantize(floats, ["int8-static"], noise(32), out)
    assert not failed, failed
    pairs = [*floats, *static]
    latencies = profile(pairs, out, target)
    p50 = {(one.format, one.precision): latency.p50_ms for one, latency in zip(pairs, latencies, strict=True)}
    return name, run, {f: (p50[f, "fp32"], p50[f, "int8-static"]) for f in ("onnx", "tflite")}


def noise(images: int) -> Split:
    """Normally distributed images: they set int8 ranges, and say nothing about accuracy."""
    random = np.random.default_rng(0)
    pool = random.standard_normal((images, 3, 224, 224), dtype=np.float32)
    samples = Samples(images, lambda indices: pool[indices], None, "noise")
    return Split(samples, np.arange(images), Preprocess())


UNTRAINED_TEXT = (
    "Random weights, so no accuracy is claimed. Static int8 needs images: for its speed the float32\n"
    "files are quantized with noise as calibration. Milliseconds are p50 on one thread."
)


def cifar_section(name: str, folder: Path) -> list[str]:
    command = compress_cifar(name, folder)
    report = command.report
    cost, quality = report.cost, report.quality
    assert quality.original is not None
    assert quality.shrunk is not None
    lines = [
        f"## {name} on CIFAR-10, half the MACs, no training",
        "",
        f"{cost.before.macs:,} -> {cost.after.macs:,} MACs ({cost.before.macs / cost.after.macs:.2f}x), "
        f"{cost.before.parameters:,} -> {cost.after.parameters:,} parameters. "
        f"Whole command: {command.seconds:.0f} s, peak memory {command.peak_gb:.2f} GB.",
        "",
        "| file | bytes | top-1 % | interval | agrees % | p50 ms | p95 | p99 | against the original |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    low, high = quality.original.interval
    base = {}
    for one in report.baseline:
        timing = one.latency_here or one.latency
        base[one.format] = timing.p50_ms or float("nan")
        lines.append(
            f"| original, {one.format} | {one.bytes:,} | {quality.original.top1:.2f} | "
            f"{low:.2f}-{high:.2f} | | {timing.p50_ms:.2f} | {timing.p95_ms:.2f} | "
            f"{timing.p99_ms:.2f} | 1.00x |"
        )
    low, high = quality.shrunk.interval
    lines.append(f"| model.pt2 | | {quality.shrunk.top1:.2f} | {low:.2f}-{high:.2f} | 100 | | | | |")
    for one in sorted(report.artifacts, key=lambda one: one.format):
        timing, top1 = one.latency_here or one.latency, one.quality
        assert top1 is not None
        assert timing.p50_ms is not None
        lines.append(
            f"| {one.path} | {one.bytes:,} | {top1.top1:.2f} | {top1.interval[0]:.2f}-"
            f"{top1.interval[1]:.2f} | {one.agreement:.2f} | {timing.p50_ms:.2f} | {timing.p95_ms:.2f} | "
            f"{timing.p99_ms:.2f} | {base[one.format] / timing.p50_ms:.2f}x |"
        )
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in report.timing_s.items())
    return [*lines, "", f"Seconds per stage: {stages}."]


def untrained_section(folder: Path) -> list[str]:
    lines = [
        "## Untrained torchvision networks, data-free",
        "",
        UNTRAINED_TEXT,
        "",
        "| network | format | MACs | difference, fp32 | fp32 | static int8 | int8 is |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in ("resnet18", "mobilenet_v2"):
        name, command, pairs = untrained_rows(network, folder)
        report = command.report
        before, after = report.cost.before.macs, report.cost.after.macs
        for format, (full, small) in pairs.items():
            one = next(a for a in report.artifacts if (a.format, a.precision) == (format, "fp32"))
            lines.append(
                f"| {name} | {format} | {before / 1e9:.2f} -> {after / 1e9:.2f} G | "
                f"{one.deviation.relative:.1e} | {full:.1f} | {small:.1f} | "
                f"{full / small:.2f}x faster |"
            )
    return lines


def start_up(command: list[str]) -> str:
    seconds = []
    for _ in range(11):
        started = time.perf_counter()
        subprocess.run(
            [Path(sys.executable).parent / "edgeprune", *command], stdout=subprocess.DEVNULL, check=True
        )
        seconds.append(time.perf_counter() - started)
    return f"`edgeprune {' '.join(command)}` {np.median(seconds):.2f} s"


def target_threads() -> int:
    return min(find_target(TARGET).threads, os.cpu_count() or 1)


def start_section(folder: Path) -> list[str]:
    starts = [start_up(command) for command in (["--help"], ["targets", "list"])]
    return ["## Start-up", "", f"Median wall time of eleven starts: {', '.join(starts)}."]


SECTIONS: dict[str, Callable[[Path], list[str]]] = {
    "resnet20": partial(cifar_section, "resnet20"),
    "resnet56": partial(cifar_section, "resnet56"),
    "untrained": untrained_section,
    "readers": readers.untrained_section,
    "separable": readers.trained_section,
    "memory": memory.section,
    "start-up": start_section,
}


if __name__ == "__main__":
    main()

"""Writes sections of docs/benchmarks.md: integer files beside those of stock tools, and whole zoos as files.

`make bench-export`. Needs ../shared/data (or $EDGEPRUNE_DATA); the zoo takes hours and goes on where it was
stopped (`--kept` writes what is there). Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.document import PAGE, header, order
from benchmarks.export.stock import answers_of, medians_ms, stock_file
from benchmarks.export.whole import measured
from benchmarks.page import put_section, say, taken, versions
from benchmarks.zoo.jobs import NOT_MEASURED, Job, Result, kept_results, run_jobs
from benchmarks.zoo.networks import timm_networks, torchvision_networks, torchvision_parameters
from edgeprune.core.drop import Drop, drop_of
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.operator import short_name
from edgeprune.core.quantization import Guard, Quantization
from edgeprune.core.recipe import Preprocess
from edgeprune.core.report import DeliveredArtifact, Report
from edgeprune.core.samples import Samples, Split, Splits
from edgeprune.core.target import find_target
from edgeprune.graph.capture import capture
from edgeprune.stages.ask import ask
from edgeprune.stages.draw import draw
from edgeprune.stages.export import export
from edgeprune.stages.guard import Bench, guarded
from edgeprune.stages.load import load

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data")).resolve()
WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
TARGET = "x86-64"
FORMATS = ("onnx", "tflite")
PACKAGES = "torch onnx onnxruntime litert-torch ai-edge-quantizer ai-edge-litert".split()


def main() -> None:
    """Measure the sections named on the command line (all without) and put them into the page."""
    parser = argparse.ArgumentParser(description="measure exported files and write docs/benchmarks.md")
    parser.add_argument("--kept", action="store_true", help="write `files` from what is kept in build/zoo")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"error: {DATA} is absent\nhint: set EDGEPRUNE_DATA to the folder with cifar10.npz")
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    for name in options.sections or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            kept = {"kept": options.kept} if name == "files" else {}
            lines = SECTIONS[name](Path(folder), **kept)
        put_section(
            PAGE, header(), order(SECTIONS), name, [*lines, "", f"{versions(PACKAGES)}.", "", taken()]
        )
        say(f"{name}: done")


STOCK_TEXT = (
    "Stock: `onnxruntime.quantization.quantize_static` and ai-edge-quantizer's `static_wi8_ai8`, both with\n"
    "their defaults, from the same float32 file and the same 200 calibration images. Drops are counted\n"
    "image by image on all test images against that float32 file, with 95 % intervals (Tango).\n"
    "Milliseconds are medians on one thread, the three files of a row taking turns."
)


def cut_section(name: str, folder: Path) -> list[str]:
    """A trained network cut by the command line, its integer files beside stock ones."""
    model, options = DATA / "resnet_cifar10" / WEIGHTS[name], _resnet(name)
    out = folder / name
    report = compressed(model, *options, "--speedup", "2", "--precision", "int8-static", out=out)
    splits = _splits(model, options)
    files = []
    for format in FORMATS:
        whole, ours = (_of(report, format, precision) for precision in ("fp32", "int8-static"))
        assert ours.quantization is not None
        files.append((out / whole.path, out / ours.path, ours.quantization))
    return _beside_stock(f"Static int8 of {name} on CIFAR-10, half the MACs", files, splits)


def uncut_section(folder: Path) -> list[str]:
    """The MobileNetV3-style network as it was trained, its integer files beside stock ones."""
    model = ROOT / "models" / "fashion_mobile" / "fashion_mobile.pt"
    splits = _splits(model, [])
    program = load(model, arch=f"{model.parent}/model.py:fashion_mobile", input_size=(1, 28, 28), base=ROOT)
    expected = np.concatenate(
        [program.run(torch.from_numpy(one)).numpy() for one in splits.selection.inputs(500)]
    )
    labels = splits.selection.labels
    assert labels is not None
    bench = Bench(splits.calibration, splits.selection, labels, expected, expected, Guard(at_most=1))
    written, failed = export(program, FORMATS, folder, parent="")
    assert not failed, failed
    files = []
    for one in written:
        ours, how = guarded(one, "int8-static", bench, folder, find_target(TARGET))
        assert ours is not None
        files.append((folder / one.path, folder / ours.path, how))
    title = "Static int8 of a MobileNetV3-style network on Fashion-MNIST, as it was trained"
    return _beside_stock(title, files, splits)


def _beside_stock(title: str, files: Sequence[tuple[Path, Path, Quantization]], splits: Splits) -> list[str]:
    """A row per format: float32, ours and stock."""
    inputs, labels = np.concatenate(list(splits.test.inputs(500))), splits.test.labels
    assert labels is not None
    rows, ledger = [], list[str]()
    for whole, ours, how in files:
        format = whole.suffix[1:]
        stock = stock_file(whole, splits.calibration, whole.with_name(f"stock.{format}"))
        expected = answers_of(whole, inputs)
        drops = [_drop(drop_of(expected, answers_of(path, inputs), labels)) for path in (ours, stock)]
        times = (f"{one:.3f}" for one in medians_ms([whole, ours, stock], inputs[:1]))
        rows.append(
            f"| {format} | {100 * float((expected.argmax(1) == labels).mean()):.2f} | {drops[0]} | "
            f"{how.ranges} | {how.floats} of {how.operators} | {drops[1]} | {' | '.join(times)} |"
        )
        ledger += _ledger(format, how)
    return [
        f"## {title}",
        "",
        STOCK_TEXT,
        "",
        "| format | float32 top-1 | ours: drop | ranges | operators in float32 | stock: drop | float32 ms | "
        "ours ms | stock ms |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        *(["", *ledger] if ledger else []),
    ]


def _ledger(format: str, how: Quantization) -> list[str]:
    """What each operator in float32 bought, and what it cost."""
    lines, before = [], how.before
    for one in how.fallbacks:
        lines.append(
            f"- {format}, {one.kind} {', '.join(map(short_name, one.operators))}: "
            f"{before.drop.points:.2f} -> {one.drop.points:.2f} points on {how.images} selection images, "
            f"{before.bytes:,} -> {one.bytes:,} bytes, {before.p50_ms} -> {one.p50_ms} ms"
        )
        before = one
    return lines


def _resnet(name: str) -> list[str]:
    """What the command line needs to know of a ResNet's weights."""
    return ["--arch", f"{ROOT}/models/resnet_cifar/model.py:{name}", "--data", f"npz:{DATA}/cifar10.npz"]


def compressed(model: Path, *options: str, out: Path) -> Report:
    """The report of one run of the command line; a broken promise is part of it."""
    command = [sys.executable, "-m", "edgeprune", "compress", str(model), "--target", TARGET]
    say(f"edgeprune compress {model.stem}")
    done = subprocess.run(
        [*command, *options, "--out", str(out), "--json", "--quiet"], stdout=subprocess.PIPE, cwd=ROOT
    )
    return Report.parse(json.loads(done.stdout), source="--json")


def _splits(model: Path, options: Sequence[str]) -> Splits:
    """The images that run drew."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    request = ask(model, find_target(TARGET), arch=given.get("--arch"), data=given.get("--data"))
    program = load(model, arch=request.arch, input_size=request.input, base=Path(request.arch_base))
    splits = draw(request, program)
    assert splits is not None
    return splits


def _of(report: Report, format: str, precision: str) -> DeliveredArtifact:
    return next(one for one in report.artifacts if (one.format, one.precision) == (format, precision))


def _drop(drop: Drop) -> str:
    return f"{drop.points:.2f} [{drop.interval[0]:.2f}, {drop.interval[1]:.2f}]"


SPEED_TEXT = (
    "Random weights, noise as calibration: for speed only. Stock tools as above. Milliseconds are medians\n"
    "on one thread, files taking turns; agreement and signal against float32 on 64 inputs."
)


def speed_section(folder: Path) -> list[str]:
    lines = [
        "## Static int8 speed, untrained networks",
        "",
        SPEED_TEXT,
        "",
        "| network | format | float32 ms | ours ms | stock ms | ours | stock | signal, ours | agrees, ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ("resnet18", "mobilenet_v2"):
        torch.manual_seed(0)
        program = capture(import_torchvision().models.get_model(name).eval(), (3, 224, 224))
        calibration, selection = noise(32, 224, 0), noise(64, 224, 1)
        expected = program.run(torch.from_numpy(np.concatenate(list(selection.inputs(16))))).numpy()
        bench = Bench(
            calibration, selection, expected.argmax(1), expected, expected, Guard(at_most=99, answers="same")
        )
        files, failed = export(program, FORMATS, folder, parent="", name=name)
        assert not failed, failed
        for one in files:
            say(f"{name}, {one.format}")
            ours, how = guarded(one, "int8-static", bench, folder, find_target(TARGET))
            assert ours is not None
            stock = stock_file(folder / one.path, calibration, folder / f"stock.{one.format}")
            full, small, other = medians_ms(
                [folder / one.path, folder / ours.path, stock], next(selection.inputs(1))
            )
            signal = max(trial.snr_db or 0 for trial in how.trials)
            lines.append(
                f"| {name} | {one.format} | {full:.1f} | {small:.1f} | {other:.1f} | "
                f"{full / small:.2f}x | {full / other:.2f}x | {signal:.1f} dB | "
                f"{how.after.drop.after:.1f} % |"
            )
    return lines


def noise(images: int, size: int, seed: int) -> Split:
    """Normally distributed images: they set ranges, and say nothing about accuracy."""
    pool = np.random.default_rng(seed).standard_normal((images, 3, size, size), dtype=np.float32)
    samples = Samples(images, lambda indices: pool[indices], None, "noise")
    return Split(samples, np.arange(images), Preprocess())


def whole_section(folder: Path) -> list[str]:
    """Seconds and memory of everything that follows the cut, for one large network."""
    del folder
    found = measured("resnet50", 224)
    steps = ("export", "quantize", "verify")
    rows = [f"| {step} | {found[step]['seconds']:.0f} | {found[step]['peak_gb']:.2f} |" for step in steps]
    files = [
        f"{format}: int8 at {one['snr_db']:.1f} dB, {one['points']:.1f} % of the answers changed, "
        f"{one['fallbacks']} of {one['operators']} operators in float32."
        for format in FORMATS
        for one in [found[f"{format} int8"]]
    ]
    return [
        "## Export, quantize and verify a ResNet-50 cut to half",
        "",
        "Random weights, 3x224x224; ONNX and TFLite, float32 and static int8; 200 calibration and 200",
        "selection images of noise, on which half of the answers may change: untrained outputs lie close",
        "together. Seconds and peak memory of the process since the cut, step by step; the peak before was "
        f"{found['before']['peak_gb']:.2f} GB.",
        "",
        "| until | seconds | peak GB |",
        "|---|---|---|",
        *rows,
        "",
        *files,
    ]


FILES_TEXT = (
    "Random weights (seed 0), half of the units of every free group cut at once, then ONNX and TFLite files\n"
    "in float32 and static int8 (min-max ranges over 8 noise inputs, no guard), each run by its runtime on\n"
    "16 inputs. Float32: largest difference to the captured network, relative to its largest output. Int8:\n"
    "signal over noise at the outputs, and how often the largest output is the same one; untrained outputs\n"
    "lie close together, so the signal says more. Seconds are export + int8, beside other work."
)
_LARGEST = 150_000_000
_TIMM = 40
_EXACT = 1e-3
"""Of untrained networks: hundreds of layers add up rounding."""


def files_section(folder: Path, *, kept: bool = False) -> list[str]:
    """Whole zoos as files, smallest networks first."""
    del folder
    networks = [one for one in torchvision_networks() if one.family == "classification"]
    large = [one.name for one in networks if torchvision_parameters(one.name) > _LARGEST]
    networks = [one for one in networks if one.name not in large] + timm_networks()[:_TIMM]
    jobs = [Job("files", (one.source, one.name, one.family), 900) for one in networks]
    rows = kept_results(jobs) if kept else run_jobs(jobs)
    named = [(one.name, row) for one, row in zip(networks, rows, strict=True)]
    missing = [name for name, row in named if row.get("refused") == NOT_MEASURED]
    named = [(name, row) for name, row in named if name not in missing]
    lines = ["## Zoos as files", "", FILES_TEXT, "", *_totals(named), ""]
    lines += [
        "| network | ONNX float32 | int8 | kB | s | TFLite float32 | int8 | kB | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {' | '.join(cell for format in FORMATS for cell in _cells(row, format))} |"
        for name, row in named
    ]
    if missing:
        lines += ["", f"Not measured, for lack of time: {', '.join(missing)}."]
    return [*lines, "", f"Left out, more than {_LARGEST:,} parameters: {', '.join(large)}."]


def _totals(named: Sequence[tuple[str, Result]]) -> list[str]:
    """How many files each format gave, and every one that it did not."""
    lines = []
    for format in FORMATS:
        found = {name: row.get("files", {}).get(format, {}) for name, row in named}
        good = [name for name, one in found.items() if one.get("fp32", {}).get("relative", 1) <= _EXACT]
        whole = [name for name, one in found.items() if "int8-static" in one]
        lines.append(
            f"{format}: {len(good)} of {len(named)} float32 files answer like the network, "
            f"{len(whole)} int8 files were written and run."
        )
    for name, row in named:
        if "crash" in row or "refused" in row:
            lines.append(f"- {name}: {row.get('crash') or row.get('refused')}")
        for format, one in row.get("files", {}).items():
            if "refused" in one:
                lines.append(f"- {name}, {format}: {one['refused']}")
    return lines


def _cells(row: Result, format: str) -> list[str]:
    found = row.get("files", {}).get(format, {})
    full, small = found.get("fp32"), found.get("int8-static")
    seconds = sum(found.get("seconds", {}).values())
    return [
        "-" if full is None else f"{full['relative']:.0e}",
        "-" if small is None else f"{small['snr_db']} dB, {small['agrees']:.0f} %",
        "-"
        if full is None
        else f"{full['bytes'] / 1e3:,.0f}" + ("" if small is None else f" -> {small['bytes'] / 1e3:,.0f}"),
        f"{seconds:.0f}",
    ]


SECTIONS: dict[str, Callable[..., list[str]]] = {
    "int8-resnet20": partial(cut_section, "resnet20"),
    "int8-resnet56": partial(cut_section, "resnet56"),
    "int8-fashion": uncut_section,
    "int8-speed": speed_section,
    "whole-resnet50": whole_section,
    "files": files_section,
}


if __name__ == "__main__":
    main()

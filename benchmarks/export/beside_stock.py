"""Static int8 files beside those of the engines' own tools: accuracy and speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.export.stock import answers_of, medians_ms, stock_file
from benchmarks.export.trained import FORMATS, ROOT, TARGET, compressed, drawn, resnet, resnet_options
from benchmarks.memory import noise
from benchmarks.page import say
from edgeprune.core.drop import Drop, drop_of
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.operator import short_name
from edgeprune.core.quantization import Guard, Quantization
from edgeprune.core.report import DeliveredArtifact, Report
from edgeprune.core.samples import Splits
from edgeprune.core.target import find_target
from edgeprune.graph.capture import capture
from edgeprune.stages.export import export
from edgeprune.stages.guard import Bench, guarded
from edgeprune.stages.load import load

STOCK_TEXT = (
    "Stock: `onnxruntime.quantization.quantize_static` and ai-edge-quantizer's `static_wi8_ai8`, both with\n"
    "their defaults, from the same float32 file and the same 200 calibration images. Drops are counted\n"
    "image by image on all test images against that float32 file, with 95 % intervals (Tango).\n"
    "Milliseconds are medians on one thread, the three files of a row taking turns."
)


def cut_section(name: str, folder: Path) -> list[str]:
    """A trained network cut by the command line, its integer files beside stock ones."""
    model, options = resnet(name), resnet_options(name)
    out = folder / name
    report = compressed(model, *options, "--speedup", "2", "--precision", "int8-static", out=out)
    splits = drawn(model, options)
    files = []
    for format in FORMATS:
        whole, ours = (_of(report, format, precision) for precision in ("fp32", "int8-static"))
        assert ours.quantization is not None
        files.append((out / whole.path, out / ours.path, ours.quantization))
    return _beside_stock(f"Static int8 of {name} on CIFAR-10, half the MACs", files, splits)


def uncut_section(folder: Path) -> list[str]:
    """The MobileNetV3-style network as it was trained, its integer files beside stock ones."""
    model = ROOT / "models" / "fashion_mobile" / "fashion_mobile.pt"
    splits = drawn(model, [])
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
    for name in ("resnet18", "mobilenet_v2", "mobilenet_v3_small"):
        torch.manual_seed(0)
        program = capture(import_torchvision().models.get_model(name).eval(), (3, 224, 224))
        calibration, selection = noise(32, (3, 224, 224), 0), noise(64, (3, 224, 224), 1)
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

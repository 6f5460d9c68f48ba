"""What each precision and each bit costs: every file of one network, and weights of few bits."""

from __future__ import annotations

from pathlib import Path

from benchmarks.export.trained import FORMATS, ROOT, compressed, drawn, resnet, resnet_options
from edgeprune.core.progress import Silent
from edgeprune.core.report import DeliveredArtifact
from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.rounding import rounded
from edgeprune.graph.weights import copied, write
from edgeprune.stages.load import load
from edgeprune.stages.verify import judge

PRECISIONS = "fp16 int8-static int8-dynamic int8-weight-only int8w-int16a int4-weight-only".split()


def precisions_section(folder: Path) -> list[str]:
    """Every precision of one trained network in both formats."""
    wanted = [word for one in PRECISIONS for word in ("--precision", one)]
    options = [*resnet_options("resnet20"), "--speedup", "2", *wanted]
    report = compressed(resnet("resnet20"), *options, out=folder / "run")
    rows = []
    for format in FORMATS:
        files = [one for one in report.artifacts if one.format == format]
        (whole,) = (one for one in files if one.precision == "fp32")
        for one in files:
            assert one.quality is not None
            rows.append(
                f"| {format} | {one.precision} | {one.bytes:,} | {whole.bytes / one.bytes:.2f}x | "
                f"{one.quality.top1:.2f} | {_p50(one):.3f} | {_p50(whole) / _p50(one):.2f}x |"
            )
    return [
        "## Every precision of ResNet-20, half the MACs",
        "",
        "All 10,000 test images of CIFAR-10; milliseconds are medians on one thread, files taking turns.",
        "",
        "| format | precision | bytes | smaller | top-1 % | ms | faster than float32 |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _p50(one: DeliveredArtifact) -> float:
    p50 = one.latency.p50_ms
    assert p50 is not None, "the target is this machine"
    return p50


BITS = (8, 4, 3)


def rounding_section(folder: Path) -> list[str]:
    """Weights of fewer bits, rounded to the nearest and column by column; the network itself, no file."""
    del folder
    model = resnet("resnet20")
    architecture = f"{ROOT}/models/resnet_cifar/model.py:resnet20"
    program = load(model, arch=architecture, input_size=(3, 32, 32), base=ROOT)
    splits = drawn(model, resnet_options("resnet20"))
    rows = [
        f"| {bits} | {_right(_nearest(program, bits), splits.test):.2f} | "
        f"{_right(rounded(program, splits.calibration, bits), splits.test):.2f} |"
        for bits in BITS
    ]
    return [
        "## Weights of few bits: ResNet-20, uncut",
        "",
        "Top-1 on all 10,000 test images of CIFAR-10; weights in steps per output channel, activations",
        f"float32; 500 calibration images without labels. Float32: {_right(program, splits.test):.2f}.",
        "",
        "| bits | to the nearest | refitted, column by column |",
        "|---|---|---|",
        *rows,
    ]


def _nearest(program: Program, bits: int) -> Program:
    """Every weight of a layer at the nearest multiple of its channel's step."""
    copy, top = Program(rebuild(program, copied(program)), program.inputs), 2 ** (bits - 1) - 1
    values = {}
    for name, tensor in copied(program).items():
        if name.endswith("weight") and tensor.ndim in {2, 4}:
            steps = tensor.abs().flatten(1).amax(1).reshape(-1, *[1] * (tensor.ndim - 1)) / top
            values[name] = (tensor / steps).round() * steps
    write(copy, values)
    return copy


def _right(program: Program, test: Split) -> float:
    quality, _ = judge(program, test, Silent(), "")
    assert quality is not None
    return quality.top1

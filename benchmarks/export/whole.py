"""Export, quantize and verify of one network in a process of its own.

`python -m benchmarks.export.whole resnet50 224`.

Prints one JSON line with seconds and peak memory after every step. Weights are random, half of every free
group is cut; noise stands for images, without labels, so the guard bounds changed answers.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import noise
from benchmarks.page import say
from benchmarks.zoo.cutting import halved
from benchmarks.zoo.networks import Network
from edgeprune.core.quantization import Guard
from edgeprune.core.target import find_target
from edgeprune.graph.answer import answers
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple
from edgeprune.graph.surgery import shrink
from edgeprune.stages.export import export
from edgeprune.stages.guard import Bench, guarded
from edgeprune.stages.verify import verify

FORMATS = ("onnx", "tflite")
_CALIBRATION, _SELECTION = 200, 200


def main(network: str, size: int) -> None:
    """Time the three steps."""
    module, _ = Network("torchvision", network, "classification").build()
    coupling = couple(capture(module, (3, size, size)))
    program = shrink(coupling, halved(coupling.free()))
    del module, coupling
    calibration = noise(_CALIBRATION, (3, size, size), 0)
    selection = noise(_SELECTION, (3, size, size), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    steps: dict[str, Any] = {"before": {"seconds": 0.0, "peak_gb": before}}
    started = time.perf_counter()

    def note(step: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        steps[step] = {"seconds": time.perf_counter() - started, "peak_gb": peak}
        say(f"{network}: {step}, {peak:.2f} GB, {steps[step]['seconds']:.0f} s")

    target = find_target("x86-64")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, failed = export(program, FORMATS, folder, parent="")
        assert not failed, failed
        note("export")
        expected = np.concatenate(list(answers(program, selection.inputs(20))))
        guard = Guard(at_most=50, answers="same")
        bench = Bench(calibration, selection, expected.argmax(1), expected, expected, guard)
        made = []
        for one in files:
            small, how = guarded(one, "int8-static", bench, folder, target)
            made += [small] if small is not None else []
            steps[f"{one.format} int8"] = {
                "fallbacks": how.floats,
                "operators": how.operators,
                "points": how.after.drop.points,
                "snr_db": max(trial.snr_db or 0 for trial in how.trials),
            }
        note("quantize")
        verdicts = verify(program, [*files, *made], folder, target, selection, reference=expected)
        note("verify")
        steps["agreement"] = {one.path: one.agreement for one in verdicts}
    print(json.dumps(steps))


def measured(network: str, size: int) -> dict[str, Any]:
    """What the process of its own printed."""
    command = [sys.executable, "-m", "benchmarks.export.whole", network, str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[2])
    return dict(json.loads(done.stdout.splitlines()[-1]))


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


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Files: one network, half of every free group cut, as ONNX and TFLite in float32 and static int8."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.zoo.child import Notes
from benchmarks.zoo.cutting import captured_or_refused, clock, halved
from benchmarks.zoo.networks import Network
from edgeprune.core.decibels import decibels
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.registry import build
from edgeprune.core.target import find_target
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import couple
from edgeprune.graph.surgery import shrink
from edgeprune.stages.export import export

FORMATS = ("onnx", "tflite")
_CALIBRATION, _JUDGED = 8, 16


def write_files(notes: Notes, source: str, name: str, family: str = "") -> None:
    """One row of the tables of `files`: what could be written, and how it answers on this machine."""
    notes.doing("build")
    module, sizes = Network(source, name, family).build()
    notes.doing("capture")
    program = captured_or_refused(notes, module, sizes)
    del module
    if program is None:
        return
    notes.doing("cut")
    coupling = couple(program)
    shrunk = shrink(coupling, halved(coupling.free()))
    del coupling, program
    inputs = shrunk.examples(_JUDGED)[0].numpy()
    notes.doing("answer", parameters=sum(one.numel() for one in shrunk.module.parameters()))
    expected = np.concatenate([shrunk.run(one).numpy() for one in shrunk.examples(_JUDGED)[0].split(1)])
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for format in FORMATS:
            notes.doing(f"{format} files", files=files)
            files[format] = _written(shrunk, format, Path(folder), inputs, expected)
    notes.done(files=files, peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def _written(
    program: Program, format: str, folder: Path, inputs: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, object]:
    """Both files of a format; what went wrong, where something did."""
    seconds: dict[str, float] = {}
    found: dict[str, object] = {"seconds": seconds}
    try:
        with clock(seconds, "export"):
            (artifact,), _ = export(program, [format], folder, parent="")
        found["fp32"] = _judged(folder / artifact.path, format, inputs, expected)
        quantizer, path = build("quantizers", f"{format}-int8-static"), folder / f"int8.{format}"
        with clock(seconds, "int8"):
            quantizer.quantize(folder / artifact.path, path, [inputs[:_CALIBRATION]])
        found["int8-static"] = _judged(path, format, inputs, expected)
    except EdgepruneError as error:
        found["refused"] = error.message
    return found


def _judged(
    path: Path, format: str, inputs: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, object]:
    """Size, largest relative difference, signal, and how often the largest output is the same."""
    runtime = build("runtimes", find_target("x86-64").runtimes[format], {"threads": 1})
    session = runtime.open(path)
    answers = np.concatenate([session.infer(one[None]) for one in inputs]).reshape(expected.shape)
    difference = answers.astype(np.float64) - expected
    signal = float(np.square(expected, dtype=np.float64).sum())
    return {
        "bytes": path.stat().st_size,
        "relative": float(np.abs(difference).max()) / (float(np.abs(expected).max()) or 1.0),
        "snr_db": decibels(signal, float(np.square(difference).sum())),
        "agrees": 100 * float((answers.argmax(1) == expected.argmax(1)).mean()),
    }

"""Guest: answers inputs with one file, on this machine and, from a capsule, on an emulated board alike.

Run as `python guest.py JOB.json` with nothing but numpy and one runtime; writes the answers and a few facts.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_MARK = 0x65700000
"""Process groups that do not exist: asking for one fails at once, and tells a plug-in of qemu where it is."""

_Arrays = list[Any]


def main(job: dict[str, Any]) -> None:
    """Answer all inputs, then let some inferences be counted."""
    infer, facts = _OPENED[job["runtime"]](job["file"])
    with np.load(job["inputs"]) as kept:
        inputs = [kept[name] for name in kept.files]
    answers = [infer(one) for one in inputs]
    np.savez(
        job["outputs"],
        **{
            f"{place:04d}_{number:02d}": array
            for place, arrays in enumerate(answers)
            for number, array in enumerate(arrays)
        },
    )
    gc.disable()  # a collection in the middle of an inference would be counted with it
    # The first round warms up what only a marked inference runs through; it is not looked at.
    for _ in range(job["counted"] + 1 if job["counted"] else 0):
        _mark(1)
        infer(inputs[0])
        _mark(2)
    Path(job["facts"]).write_text(json.dumps(facts))


def _onnxruntime(file: str) -> tuple[Callable[[Any], _Arrays], dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # For the machine beside the board (docs/decisions/0046-overflow.md).
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda one: session.run(None, {name: one}), {"version": onnxruntime.__version__}


def _litert(file: str) -> tuple[Callable[[Any], _Arrays], dict[str, str]]:
    from ai_edge_litert.interpreter import Interpreter

    return _interpreted(Interpreter(file, num_threads=1)), {"version": version("ai-edge-litert")}


def _tflite_runtime(file: str) -> tuple[Callable[[Any], _Arrays], dict[str, str]]:
    from tflite_runtime.interpreter import Interpreter

    return _interpreted(Interpreter(file, num_threads=1)), {"version": version("tflite-runtime")}


def _interpreted(interpreter: Any) -> Callable[[Any], _Arrays]:
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    ends = [one["index"] for one in interpreter.get_output_details()]

    def infer(one: Any) -> _Arrays:
        interpreter.set_tensor(place, one)
        interpreter.invoke()
        return [interpreter.get_tensor(end) for end in ends]

    return infer


def _mark(number: int) -> None:
    try:
        os.getpgid(_MARK + number)
    except ProcessLookupError:
        return


_OPENED: dict[str, Callable[[str], tuple[Callable[[Any], _Arrays], dict[str, str]]]] = {
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "tflite-runtime": _tflite_runtime,
}

if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))

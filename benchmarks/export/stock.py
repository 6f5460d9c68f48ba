"""Stock: the integer files that the engines' own tools make with their defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.quiet import quiet
from edgeprune.core.samples import Split

_ROUNDS, _RUNS = 15, 10
IMAGES = 200
"""As many as edgeprune's quantizers look at."""


def stock_file(source: Path, calibration: Split, path: Path) -> Path:
    """`quantize_static` or ai-edge-quantizer's static recipe, told nothing but the images."""
    with quiet():
        (_onnx if source.suffix == ".onnx" else _tflite)(source, calibration.take(IMAGES).inputs(1), path)
    return path


def _onnx(source: Path, inputs: Iterator[NDArray[np.float32]], path: Path) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            one = next(inputs, None)
            return None if one is None else {_input_name(source): one}

    quantization.quantize_static(source, path, Reader())


def _input_name(source: Path) -> str:
    import onnx

    return str(onnx.load(source, load_external_data=False).graph.input[0].name)


def _tflite(source: Path, inputs: Iterator[NDArray[np.float32]], path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import recipe
    from ai_edge_quantizer.quantizer import Quantizer

    ((signature, names),) = Interpreter(str(source)).get_signature_list().items()
    quantizer = Quantizer(str(source), recipe.static_wi8_ai8())
    ranges = quantizer.calibrate({signature: [{names["inputs"][0]: one} for one in inputs]}, num_threads=1)
    path.write_bytes(bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model))


def answers_of(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a file answers, integers at its ends included: stock TFLite files have them."""
    answer = _opened(path)
    return np.concatenate([answer(inputs[place : place + 1]) for place in range(len(inputs))])


def medians_ms(paths: Sequence[Path], inputs: NDArray[np.float32]) -> list[float]:
    """Median milliseconds of one inference of each file on one thread, files taking turns."""
    opened = [_opened(path) for path in paths]
    samples: list[list[int]] = [[] for _ in paths]
    for _ in range(_ROUNDS):
        for answer, found in zip(opened, samples, strict=True):
            answer(inputs)
            for _ in range(_RUNS):
                started = time.perf_counter_ns()
                answer(inputs)
                found.append(time.perf_counter_ns() - started)
    return [float(np.median(found)) / 1e6 for found in samples]


def _opened(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return _opened_onnx(path) if path.suffix == ".onnx" else _opened_tflite(path)


def _opened_onnx(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As for our own files (docs/decisions/0046-overflow.md).
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda one: np.asarray(session.run(None, {name: one})[0])


def _opened_tflite(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    read, write = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def answer(one: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(read["index"], _to_integers(one, read))
        interpreter.invoke()
        return _from_integers(interpreter.get_tensor(write["index"]), write)

    return answer


def _to_integers(values: NDArray[np.float32], detail: Any) -> NDArray[Any]:
    if detail["dtype"] is np.float32:
        return values
    step, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / step) + zero, limits.min, limits.max).astype(detail["dtype"])


def _from_integers(values: NDArray[Any], detail: Any) -> NDArray[np.float32]:
    if detail["dtype"] is np.float32:
        return np.array(values)
    step, zero = detail["quantization"]
    return np.asarray((values.astype(np.float32) - zero) * step, np.float32)

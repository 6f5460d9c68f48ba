"""Runtime `litert`: TFLite files on this machine's CPU (XNNPACK)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError
from edgeprune.core.operator import Operator, Step
from edgeprune.core.protocols import Session
from edgeprune.core.quiet import first_line, quiet


@dataclass(frozen=True)
class LiteRt:
    """`runtimes.tflite = "litert"` in a target."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="tflite", init=False)
    # 95 % zeros in convolutions and linear layers, 128 to 2,048 wide: 11.3 ms, dense 11.3 (one thread).
    skips_zeros: ClassVar[bool] = False

    def open(self, path: Path) -> Session:
        """Load a file."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            with quiet():
                interpreter = Interpreter(str(path), num_threads=self.threads)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DeviceError(f"{path.name}: LiteRT refuses it: {first_line(error)}") from error
        return _Session(interpreter, path.name)

    def steps(self, path: Path, inputs: NDArray[np.float32]) -> list[Step]:
        """Every operator of a file with what it answered to one input, by the reference kernels."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
        from ai_edge_litert.tools import flatbuffer_utils

        with quiet():
            interpreter = Interpreter(
                str(path),
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            interpreter.allocate_tensors()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
            interpreter.invoke()
            model = flatbuffer_utils.read_model(str(path))
        (graph,) = model.subgraphs
        names = [one.name.decode() for one in graph.tensors]
        return [
            Step(
                Operator(names[one.outputs[0]], flatbuffer_utils.opcode_to_name(model, one.opcodeIndex)),
                tuple(names[place] for place in one.inputs if place >= 0),
                names[one.outputs[0]],
                np.array(interpreter.get_tensor(one.outputs[0])),
            )
            for one in graph.operators
        ]


class _Session:
    def __init__(self, interpreter: Any, name: str) -> None:
        self._interpreter, self._name = interpreter, name
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return tuple(int(size) for size in self._interpreter.get_input_details()[0]["shape"])

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One input at a time: the file's batch is one (see the exporter)."""
        try:
            return np.concatenate([self._single(inputs[place : place + 1]) for place in range(len(inputs))])
        except RuntimeError as error:
            raise DeviceError(f"{self._name}: LiteRT fails while it runs: {first_line(error)}") from error

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        for _ in range(warmup):
            self._single(inputs)
        samples = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self._single(inputs)
            samples.append(time.perf_counter_ns() - start)
        return samples

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "litert", "version": version("ai-edge-litert")}

    def _single(self, one: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, one)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output))

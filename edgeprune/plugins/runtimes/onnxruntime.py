"""Runtime `onnxruntime`: ONNX files on this machine's CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError
from edgeprune.core.operator import Operator, Step
from edgeprune.core.protocols import Session
from edgeprune.core.quiet import first_line


@dataclass(frozen=True)
class OnnxRuntime:
    """`runtimes.onnx = "onnxruntime"` in a target."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="onnx", init=False)
    # 95 % zeros in convolutions and linear layers, 128 to 2,048 wide: 11.5 ms, dense 11.6 (one thread).
    skips_zeros: ClassVar[bool] = False

    def open(self, path: Path) -> Session:
        """Load a file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads that spin would disturb whatever is measured next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Sums of int8 products in 16 bits overflow without VNNI (docs/decisions/0046-overflow.md).
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base but Exception
            raise DeviceError(f"{path.name}: onnxruntime refuses it: {first_line(error)}") from error
        return _Session(session, onnxruntime.__version__)

    def steps(self, path: Path, inputs: NDArray[np.float32]) -> list[Step]:
        """Every operator of a file with what it answered to one input, nothing fused."""
        import onnx
        import onnxruntime

        model = onnx.load(path)
        ends = {one.name for one in model.graph.output}
        made = [(node, node.output[0]) for node in model.graph.node if node.output[0]]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for _, name in made if name not in ends)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [name for _, name in made]
        answers = session.run(names, {session.get_inputs()[0].name: inputs})
        return [
            Step(Operator(node.name, node.op_type), tuple(node.input), name, np.asarray(answer))
            for (node, name), answer in zip(made, answers, strict=True)
        ]


class _Session:
    def __init__(self, session: Any, version: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._version = version

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        shape = self._session.get_inputs()[0].shape
        return tuple(size if isinstance(size, int) else None for size in shape)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """All at once, or one by one where the file's batch is one."""
        parts = np.split(inputs, len(inputs)) if self.input_shape[0] == 1 else [inputs]
        return np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts])

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        feed = {self._input: inputs}
        for _ in range(warmup):
            self._session.run(None, feed)
        samples = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self._session.run(None, feed)
            samples.append(time.perf_counter_ns() - start)
        return samples

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "onnxruntime", "version": self._version}

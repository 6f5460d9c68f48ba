"""Runtime `openvino`: OpenVINO's IR on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.packed import unpack
from edgeprune.core.protocols import Session
from edgeprune.core.quiet import first_line
from edgeprune.core.timed import timed


@dataclass(frozen=True)
class OpenVinoRuntime:
    """`runtimes.openvino = "openvino"` in a target."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="openvino", init=False)

    def open(self, path: Path) -> Session:
        """Load a file; float32 stays float32, where the plug-in would choose bfloat16 on some CPUs."""
        try:
            import openvino
        except ImportError as error:
            raise PluginError(
                "runtime 'openvino' needs openvino", hint="pip install 'edgeprune[openvino]'"
            ) from error
        options = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        try:
            model = core.read_model(*unpack(path, (".xml", ".bin")))
            return _Session(core.compile_model(model, "CPU", options), openvino.__version__)
        except RuntimeError as error:
            raise DeviceError(f"{path.name}: OpenVINO refuses it: {first_line(error)}") from error


class _Session:
    def __init__(self, compiled: Any, version: str) -> None:
        self._compiled, self._version = compiled, version

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        shape = self._compiled.input(0).get_partial_shape()
        return tuple(int(size.get_length()) if size.is_static else None for size in shape)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = [inputs] if self.input_shape[0] is None else np.split(inputs, len(inputs))
        return np.concatenate([np.array(self._compiled(part)[0]) for part in parts])

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        return timed(lambda: self._compiled(inputs), warmup=warmup, runs=runs)

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "openvino", "version": self._version}

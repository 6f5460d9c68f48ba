"""Runtime `executorch`: `.pte` files on this machine's CPU (XNNPACK)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.protocols import Session
from edgeprune.core.quiet import first_line, quiet
from edgeprune.core.timed import timed


@dataclass(frozen=True)
class ExecuTorchRuntime:
    """`runtimes.executorch = "executorch"` in a target; its threads are the library's own choice."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="executorch", init=False)

    def open(self, path: Path) -> Session:
        """Load a file."""
        try:
            with quiet():
                from executorch.runtime import Runtime
        except ImportError as error:
            raise PluginError(
                f"runtime 'executorch' needs executorch: {first_line(error)}",
                hint="pip install 'edgeprune[executorch]'",
            ) from error
        try:
            with quiet():
                program = Runtime.get().load_program(path)
                return _Session(program, program.load_method("forward"))
        except (RuntimeError, ValueError) as error:
            raise DeviceError(f"{path.name}: ExecuTorch refuses it: {first_line(error)}") from error


class _Session:
    def __init__(self, program: Any, method: Any) -> None:
        # The method reads the program's memory.
        self._program, self._method = program, method

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return tuple(int(size) for size in self._method.metadata.input_tensor_meta(0).sizes())

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One input at a time: the file's batch is one."""
        return np.concatenate([self._single(one) for one in np.split(inputs, len(inputs))])

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        return timed(lambda: self._single(inputs), warmup=warmup, runs=runs)

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "executorch", "version": version("executorch")}

    def _single(self, one: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        answered: NDArray[np.float32] = self._method.execute([torch.from_numpy(one)])[0].numpy().copy()
        return answered

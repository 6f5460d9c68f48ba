"""Runtime `torch`: `.pt2` archives on this machine's CPU."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Session
from edgeprune.core.quiet import first_line
from edgeprune.graph.archive.scan import scan

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Torch:
    """`runtimes.pt2 = "torch"` in a target; an archive is scanned before it is loaded, as every other."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="pt2", init=False)
    # 95 % zeros in convolutions and linear layers, 128 to 2,048 wide: 14.1 ms, dense 13.5 (one thread).
    skips_zeros: ClassVar[bool] = False

    def open(self, path: Path) -> Session:
        """Load a file."""
        import torch

        with TemporaryDirectory(prefix="edgeprune-") as folder:
            # The very bytes that were scanned are loaded.
            private = Path(shutil.copy(path, folder))
            reasons = scan(private)
            if reasons:
                raise DeviceError(f"{path.name}: refused: {reasons[0]}")
            try:
                program = torch.export.load(private)
            except Exception as error:  # torch raises whatever the archive's reader meets
                raise DeviceError(f"{path.name}: torch refuses it: {first_line(error)}") from error
        return _Session(program.module(check_guards=False), self.threads)


class _Session:
    def __init__(self, module: Any, threads: int) -> None:
        self._module, self._threads = module, threads

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        value = next(node for node in self._module.graph.nodes if node.op == "placeholder").meta["val"]
        return tuple(size if isinstance(size, int) else None for size in value.shape)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        batches = [inputs] if self.input_shape[0] is None else np.split(inputs, len(inputs))
        with torch.no_grad():
            answered = [self._first(torch.from_numpy(batch)) for batch in batches]
        return np.concatenate([one.numpy() for one in answered])

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        import torch

        samples, given, threads = [], torch.from_numpy(inputs), torch.get_num_threads()
        torch.set_num_threads(self._threads)
        with torch.no_grad():
            for _ in range(warmup + runs):
                start = time.perf_counter_ns()
                self._module(given)
                samples.append(time.perf_counter_ns() - start)
        torch.set_num_threads(threads)
        return samples[warmup:]

    def facts(self) -> Mapping[str, str]:
        import torch

        return {"runtime": "torch", "version": torch.__version__}

    def _first(self, inputs: Tensor) -> Tensor:
        found = self._module(inputs)
        answer: Tensor = found[0] if isinstance(found, (tuple, list)) else found
        return answer

"""Runtime `ncnn`: ncnn's files on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.packed import unpack
from edgeprune.core.protocols import Session
from edgeprune.core.timed import timed


@dataclass(frozen=True)
class NcnnRuntime:
    """`runtimes.ncnn = "ncnn"` in a target; float32 arithmetic, without ncnn's half-precision storage."""

    threads: Annotated[int, Field(gt=0)] = 1
    format: Format = field(default="ncnn", init=False)

    def open(self, path: Path) -> Session:
        """Load a file."""
        try:
            import ncnn
        except ImportError as error:
            raise PluginError("runtime 'ncnn' needs ncnn", hint="pip install 'edgeprune[ncnn]'") from error
        layers, weights = unpack(path, (".param", ".bin"))
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        with TemporaryDirectory(prefix="edgeprune-") as folder:
            Path(folder, "param").write_bytes(layers)
            Path(folder, "bin").write_bytes(weights)
            if net.load_param(f"{folder}/param") or net.load_model(f"{folder}/bin"):
                raise DeviceError(f"{path.name}: ncnn refuses it")
        return _Session(net, ncnn)


class _Session:
    def __init__(self, net: Any, ncnn: Any) -> None:
        self._net, self._ncnn = net, ncnn

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The file does not say more than that there is one input at a time."""
        return (1,)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([self._single(one) for one in inputs])

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        return timed(lambda: self._single(inputs[0]), warmup=warmup, runs=runs)

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "ncnn", "version": str(self._ncnn.__version__)}

    def _single(self, one: NDArray[np.float32]) -> NDArray[np.float32]:
        extractor = self._net.create_extractor()
        extractor.input("in0", self._ncnn.Mat(np.ascontiguousarray(one)).clone())
        code, answered = extractor.extract("out0")
        if code:
            raise DeviceError(f"ncnn cannot compute it (code {code})")
        return np.array(answered)

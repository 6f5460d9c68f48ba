"""Runtime `tflite-runtime`: TFLite files in the old interpreter of many boards, in a Python of its own."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.protocols import Session

_WORKER = Path(__file__).with_name("worker.py")
_PLACE = "EDGEPRUNE_TFLITE_RUNTIME"
_MADE = Path(".venv-tflite", "bin", "python")
_MISSING = "`make tflite-runtime` makes one; or point $EDGEPRUNE_TFLITE_RUNTIME at a Python that has it"


@dataclass(frozen=True)
class TfliteRuntime:
    """`runtimes.tflite = "tflite-runtime"` in a target.

    It needs numpy < 2 and so a Python of its own: `python`, `$EDGEPRUNE_TFLITE_RUNTIME`, or what
    `make tflite-runtime` made in this folder or beside the package.
    """

    threads: Annotated[int, Field(gt=0)] = 1
    python: str = ""
    format: Format = field(default="tflite", init=False)

    def open(self, path: Path) -> Session:
        """Load a file."""
        return _Session(self._interpreter(), path, self.threads)

    def _interpreter(self) -> Path:
        if named := self.python or os.environ.get(_PLACE, ""):
            if Path(named).exists():
                return Path(named)
            raise PluginError(f"tflite-runtime: {named}: no such Python", hint=_MISSING)
        for folder in (Path.cwd(), Path(__file__).parents[4]):
            if (folder / _MADE).exists():
                return folder / _MADE
        raise PluginError("tflite-runtime: no environment that has it", hint=_MISSING)


class _Session:
    """One file in a process of its own, which ends with the session."""

    def __init__(self, python: Path, path: Path, threads: int) -> None:
        self._name = path.name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [str(one) for one in (python, "-I", _WORKER, path.resolve(), threads)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log)
        self._end = weakref.finalize(self, _ended, self._process, self._log)
        line, self._shape = self._heard()
        self._version = line.partition(" ")[2]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return tuple(int(size) for size in self._shape)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._asked("infer", inputs))

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        samples: list[int] = self._asked(f"time {warmup} {runs}", inputs).tolist()
        return samples

    def facts(self) -> Mapping[str, str]:
        return {"runtime": "tflite-runtime", "version": self._version}

    def _asked(self, line: str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._process.stdin is not None
        try:
            content = io.BytesIO()
            np.save(content, inputs, allow_pickle=False)
            packed = content.getvalue()
            self._process.stdin.write(f"{line}\n{len(packed)}\n".encode() + packed)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._broken() from error
        return self._heard()[1]

    def _heard(self) -> tuple[str, NDArray[np.float32]]:
        pipe = self._process.stdout
        assert pipe is not None
        line = pipe.readline().decode().strip()
        if line.startswith("error: "):
            raise DeviceError(f"{self._name}: tflite-runtime refuses it: {line.removeprefix('error: ')}")
        if not line.startswith("ok"):
            raise self._broken()
        packed = pipe.read(int(pipe.readline()))
        return line, np.load(io.BytesIO(packed), allow_pickle=False)

    def _broken(self) -> DeviceError:
        """The process is gone: what it said last, or how it ended."""
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return DeviceError(
            f"{self._name}: tflite-runtime ended with code {code}" + (f": {said[-1]}" if said else "")
        )


def _ended(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()
    log.close()

"""Measure through a link: a job and its files go to the scratch folder, the runner's answer comes back."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format
from edgeprune.core.device_run import DeviceRun, Job, JobFile
from edgeprune.core.errors import DeviceError, DocumentError
from edgeprune.core.protocols import Link

RUNNER = Path(__file__).parents[1] / "device" / "runner.py"
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A file to measure with its golden pair."""

    path: Path
    format: Format
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs the runner on a device: a Python of its own, or a capsule that is carried there."""

    why: str
    python: str = "python3"
    capsule: Path | None = None


def measure(link: Link, files: Sequence[Measured], job: Job, interpreter: Interpreter) -> DeviceRun | None:
    """Carry out a job (without files: they are named here) on a device; None where it was only rehearsed.

    Raises
    ------
    DeviceError
        The runner failed, or a file is refused by its runtime there.
    """
    named = _send(link, files, job)
    start = [interpreter.python]
    if interpreter.capsule is not None:
        link.files.push(interpreter.capsule, link.scratch / "capsule")
        start = ["sh", str(link.scratch / "capsule" / "py")]
    folder = link.scratch / "job"
    command = [*start, str(folder / "runner.py"), str(folder / "job.json")]
    done = link.shell.run(command, timeout=_seconds(named)).require(
        "the runner failed there", hint="`edgeprune device doctor` looks for what is missing"
    )
    if not done.stdout:
        return None
    return _answer(done.text(), files)


def _send(link: Link, files: Sequence[Measured], job: Job) -> Job:
    """Push the job, its files with their golden pairs, and the runner: one folder, one archive on the way."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, named = Path(scratch), []
        for place, one in enumerate(files):
            entry = JobFile(
                path=f"{place}.{one.format}",
                format=one.format,
                inputs=f"inputs{place}.npy",
                outputs=f"outputs{place}.npy",
            )
            np.save(folder / entry.inputs, one.inputs)
            np.save(folder / entry.outputs, one.outputs)
            shutil.copyfile(one.path, folder / entry.path)
            named.append(entry)
        shutil.copyfile(RUNNER, folder / RUNNER.name)
        sent = job.model_copy(update={"files": tuple(named)})
        sent.save(folder / "job.json")
        link.files.push(folder, link.scratch / "job")
    return sent


def _seconds(job: Job) -> float:
    """How long the job may take: twice what its files may, and time to start."""
    each = 2 * job.seconds_per_file + _START_S
    return job.cool_s + _START_S + len(job.files) * len(job.threads) * each


def _answer(text: str, files: Sequence[Measured]) -> DeviceRun:
    """The runner's answer, checked: it comes from a device, which may say anything."""
    try:
        found = DeviceRun.parse(json.loads(text), source="the runner's answer")
    except (json.JSONDecodeError, DocumentError, TypeError) as error:
        raise DeviceError(
            f"the runner's answer cannot be understood ({str(error).splitlines()[0]})",
            hint="does something else print on standard output there?",
        ) from error
    if len(found.files) != len(files):
        raise DeviceError(f"the runner answered for {len(found.files)} of {len(files)} files")
    for one, file in zip(found.files, files, strict=True):
        if one.error or not one.timings:
            raise DeviceError(f"{file.path.name}: {one.error or 'it was not timed there'}")
    return found

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
from edgeprune.core.interpreter import Interpreter
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
    return _run(link, named, start, [one.path.name for one in files])


def measure_there(link: Link, job: Job, start: Sequence[str]) -> DeviceRun | None:
    """Carry out a job whose files lie on the device already; None where it was only rehearsed.

    `start` are the words that start a Python there. Raises DeviceError as `measure` does.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _send_folder(link, Path(scratch), job)
    return _run(link, job, start, [Path(one.path).name for one in job.files])


def _run(link: Link, job: Job, start: Sequence[str], names: Sequence[str]) -> DeviceRun | None:
    """Start the runner on what was sent; `names` are what errors call the files."""
    folder = link.scratch / "job"
    command = [*start, str(folder / "runner.py"), str(folder / "job.json")]
    done = link.shell.run(command, timeout=_seconds(job)).require(
        "the runner failed there", hint="`edgeprune device doctor` looks for what is missing"
    )
    return _answer(done.text(), names) if done.stdout else None


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
        sent = job.model_copy(update={"files": tuple(named)})
        _send_folder(link, folder, sent)
    return sent


def _send_folder(link: Link, folder: Path, job: Job) -> None:
    shutil.copyfile(RUNNER, folder / RUNNER.name)
    job.save(folder / "job.json")
    link.files.push(folder, link.scratch / "job")


def _seconds(job: Job) -> float:
    """How long the job may take: twice what its files may, and time to start."""
    each = 2 * job.seconds_per_file + _START_S
    return job.cool_s + _START_S + len(job.files) * len(job.threads) * each


def _answer(text: str, names: Sequence[str]) -> DeviceRun:
    """The runner's answer, checked: it comes from a device, which may say anything."""
    try:
        found = DeviceRun.parse(json.loads(text), source="the runner's answer")
    except (json.JSONDecodeError, DocumentError, TypeError) as error:
        raise DeviceError(
            f"the runner's answer cannot be understood ({str(error).splitlines()[0]})",
            hint="does something else print on standard output there?",
        ) from error
    if len(found.files) != len(names):
        raise DeviceError(f"the runner answered for {len(found.files)} of {len(names)} files")
    for one, name in zip(found.files, names, strict=True):
        if one.error or not one.timings:
            raise DeviceError(f"{name}: {one.error or 'it was not timed there'}")
    return found

"""Answer: one file, the same inputs, by the same script, on this machine and on an emulated board."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.board import Board, write_board
from edgeprune.core.emulation import Instructions
from edgeprune.core.errors import DeviceError
from edgeprune.core.packages.store import cache_folder
from edgeprune.core.qemu import Qemu
from edgeprune.stages.emulate.counter import read_counts
from edgeprune.stages.emulate.subject import Subject

Arrays = list[NDArray[np.generic]]
COUNTED = 5
_GUEST = Path(__file__).with_name("guest.py")
_TIMEOUT_S = 1800
_LOADERS = "lib/ld-linux*"


@dataclass(frozen=True, slots=True)
class Answers:
    """The first output for every input, the runtime's version, and what one inference executed."""

    outputs: Arrays
    version: str
    instructions: Instructions | None = None


@dataclass(frozen=True, slots=True)
class Emulator:
    """A board, what plays it, the capsule that runs on it, and the counter, where there is one."""

    board: Board
    qemu: Qemu
    capsule: Path
    counter: Path | None


def answer_here(subject: Subject, inputs: Sequence[NDArray[np.generic]]) -> Answers:
    """By this machine's own runtime.

    Raises
    ------
    DeviceError
        The runtime refuses the file, or ends.
    """
    with TemporaryDirectory(prefix="edgeprune-answer-") as folder:
        job = _job(Path(folder), subject, inputs, counted=0)
        _run([sys.executable, str(_GUEST), str(job)], dict(os.environ), f"{subject.path} on this machine")
        return _collect(Path(folder), None)


def answer_emulated(subject: Subject, inputs: Sequence[NDArray[np.generic]], emulator: Emulator) -> Answers:
    """By the board's kernels, on one thread; instructions are counted where there is a counter.

    Raises
    ------
    DeviceError
        The runtime refuses the file, or ends.
    """
    with TemporaryDirectory(prefix="edgeprune-answer-") as folder:
        place = Path(folder)
        job = _job(place, subject, inputs, counted=COUNTED if emulator.counter else 0)
        # Absolute paths that exist below this folder are taken from it: the board's /proc and /sys.
        write_board(emulator.board, place / "board")
        command = [emulator.qemu.path, "-cpu", emulator.board.processor, "-L", str(place / "board")]
        if emulator.counter:
            command += ["-plugin", f"{emulator.counter},out={place / 'counts'}"]
        command += [*_python(emulator.capsule), str(_GUEST), str(job)]
        _run(command, _environment(emulator.capsule), f"{subject.path} on emulated {emulator.board.name}")
        return _collect(place, place / "counts" if emulator.counter else None)


def _job(folder: Path, subject: Subject, inputs: Sequence[NDArray[np.generic]], *, counted: int) -> Path:
    named: dict[str, Any] = {f"{place:04d}": one for place, one in enumerate(inputs)}
    np.savez(folder / "inputs.npz", **named)
    job = {
        "file": str(subject.path.resolve()),
        "runtime": subject.runtime,
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / "outputs.npz"),
        "facts": str(folder / "facts.json"),
        "counted": counted,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def _python(capsule: Path) -> list[str]:
    """The capsule's interpreter as its `py` starts it; there is no shell to run `py` itself."""
    loader = next(capsule.glob(_LOADERS))
    python = next(capsule.glob("bin/python*"))
    return [str(loader), "--library-path", str(capsule / "lib"), str(python)]


def _environment(capsule: Path) -> dict[str, str]:
    return {
        "HOME": "/tmp",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONHOME": str(capsule),
        "PYTHONPATH": str(capsule / "site"),
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        # Compiled modules are kept beside the capsules, or every start would compile numpy anew.
        "PYTHONPYCACHEPREFIX": str(cache_folder() / "compiled" / capsule.name),
    }


def _run(command: Sequence[str], environment: dict[str, str], what: str) -> None:
    # An emulated program that crashes would leave a dump of hundreds of megabytes.
    guarded = [*_unshuffled(), "sh", "-c", 'ulimit -c 0; exec "$@"', "sh", *command]
    try:
        done = subprocess.run(
            guarded, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{what}: no answer within {_TIMEOUT_S} s", hint="give fewer images with --images"
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise DeviceError(
            f"{what}: the runtime ended with {ended}: {said[-1] if said else 'it said nothing'}"
        )


@cache
def _unshuffled() -> tuple[str, ...]:
    """Addresses that are the same every time, where the system lets us: tables hashed by them cost alike."""
    command = ("setarch", "--addr-no-randomize")
    found = shutil.which(command[0])
    allowed = found and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    return command if allowed else ()


def _collect(folder: Path, counts: Path | None) -> Answers:
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "outputs.npz") as kept:
        outputs = [kept[name] for name in sorted(kept.files) if name.endswith("_00")]
    return Answers(outputs, str(facts["version"]), read_counts(counts) if counts else None)

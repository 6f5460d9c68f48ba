"""Versions: the small bundle that is live when a case begins, and the large one that is shipped."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from shipments import keys, run_folder

from edgeprune.core.bundle_file import Verified, verify
from edgeprune.core.keys import load_trusted
from edgeprune.core.report import Report
from edgeprune.stages.bundle import bundle

FILLER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Versions:
    """What is live, and what is to be."""

    old: Verified
    new: Verified


@cache
def for_this_machine() -> Versions:
    """The old one runs on this machine's Python; the new one brings its own, and a filler to be cut."""
    start = f'exec {sys.executable} "$@"\n'
    return Versions(
        _made(run_folder(), "model.onnx"), _made(run_folder(), "model.tflite", start, FILLER_BYTES)
    )


def carried(target: str, python: str) -> Versions:
    """Both bring a Python that lies on the device already, or an upload would take minutes."""
    start = f'exec sh {python} "$@"\n'
    return Versions(*(_made(_run_for(target), "model.tflite", start, size) for size in (1, FILLER_BYTES)))


@cache
def bare(target: str) -> Verified:
    """One that needs a Python of the device's own."""
    return _made(_run_for(target), "model.tflite")


@cache
def _run_for(target: str) -> Path:
    run = run_folder().with_name(f"run-{target}")
    shutil.copytree(run_folder(), run)
    Report.load(run / "report.json").model_copy(update={"target": target}).save(run / "report.json")
    return run


def _made(run: Path, file: str, start: str = "", filler_bytes: int = 0) -> Verified:
    path = run / f"{file}-{filler_bytes}.edge"
    with tempfile.TemporaryDirectory() as folder:
        capsule = Path(folder) if start else None
        if capsule:
            (capsule / "py").write_text(start)
            (capsule / "filler").write_bytes(np.random.default_rng(0).bytes(filler_bytes))
        bundle(run, path, key=keys()[0], file=file, capsule=capsule)
    return verify(path, load_trusted([keys()[1]]))

"""A finished run, a key, and bundles of its files, made once for all tests that ship something."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from core.documents import a_report, delivered
from tiny import tiny_floats, tiny_folder

from edgeprune.core.bundle_file import Verified, verify
from edgeprune.core.keys import load_trusted, new_key
from edgeprune.core.report import DeliveredArtifact
from edgeprune.stages.bundle import bundle


@cache
def run_folder() -> Path:
    """A run for x86-64 with two float32 files; do not write into it."""
    folder = tiny_folder() / "run"
    folder.mkdir()
    found = []
    for one in tiny_floats():
        shutil.copy(tiny_folder() / one.path, folder)
        known = delivered("fp32", one.format).model_dump() | one.model_dump()
        found.append(DeliveredArtifact(**known))
    a_report(*found).model_copy(update={"target": "x86-64"}).save(folder / "report.json")
    return folder


@cache
def keys() -> tuple[Path, Path]:
    """A private key and its public one."""
    return new_key(tiny_folder() / "keys")


@cache
def strangers() -> tuple[Path, Path]:
    """The pair of somebody else."""
    return new_key(tiny_folder() / "strangers")


@cache
def edge(file: str = "model.onnx", *, budget_ms: float | None = None) -> Path:
    """A signed bundle of one file; do not write to it."""
    path = tiny_folder() / f"{file}{budget_ms or ''}.edge"
    bundle(run_folder(), path, key=keys()[0], file=file, latency_budget_ms=budget_ms)
    return path


def verified(file: str = "model.onnx") -> Verified:
    """The same, verified."""
    return verify(edge(file), load_trusted([keys()[1]]))

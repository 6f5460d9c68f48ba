"""Describe: notes in the finished files, so that a file explains itself wherever it ends up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.artifact import Artifact
from edgeprune.core.files import sha256, written_whole
from edgeprune.core.protocols import FileFormat
from edgeprune.core.registry import build, names
from edgeprune.core.report import Quality, Verdict
from edgeprune.core.request import Request

_TOP1 = len("100.00 [100.00, 100.00] of 1000000 test images")


def describe(
    artifacts: Sequence[Artifact], folder: Path, notes: Mapping[str, str], verdicts: Sequence[Verdict]
) -> list[Artifact]:
    """The files again, with their notes; formats that hold none stay as they are.

    The network in a file is not touched. Its hash changes, so files that were made from it name the new one.
    """
    quality = {one.path: one.quality for one in verdicts}
    described, renamed = [], dict[str, str]()
    for artifact in artifacts:
        made = artifact.model_copy(update={"parent": renamed.get(artifact.parent, artifact.parent)})
        if artifact.format in names("formats"):
            own = {**notes, "precision": artifact.precision, **_accuracy(quality.get(artifact.path))}
            made = _noted(made, folder, own)
        renamed[artifact.sha256] = made.sha256
        described.append(made)
    return described


def as_described(artifact: Artifact, folder: Path, request: Request) -> Artifact:
    """A file as large as `describe` will make it, whatever the accuracy; the file itself stays as it is."""
    if artifact.format not in names("formats"):
        return artifact
    fixed = {"plan_sha256": "0" * 64, "precision": artifact.precision, "top1_percent": " " * _TOP1}
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / artifact.path
        format: FileFormat = build("formats", artifact.format)
        format.note(folder / artifact.path, path, {**notes_of(request, Path(scratch)), **fixed})
        return artifact.model_copy(update={"bytes": path.stat().st_size})


def notes_of(request: Request, plan: Path) -> dict[str, str]:
    """What all files of a run have in common."""
    preprocess, interface = request.preprocess, request.interface
    notes = {
        "edgeprune": request.version,
        "model": request.model or "",
        "labels": json.dumps(request.labels, ensure_ascii=False) if request.labels else "",
        "plan_sha256": sha256(plan) if plan.is_file() else "",
        "input": _input_words(request),
        "answer": interface.answer,
    }
    if not interface.camera:
        for name in ("mean", "std", "scale"):
            value = getattr(preprocess, name)
            notes[name] = json.dumps(value) if value else ""
    return {key: value for key, value in notes.items() if value}


def _input_words(request: Request) -> str:
    """How to make an input: what its numbers are, and how the axes lie."""
    interface, preprocess = request.interface, request.preprocess
    axes = interface.layout.upper()
    if interface.camera:
        return f"8-bit frames, 0 to 255, {axes}; normalised inside"
    steps = "x / scale (255 for 8-bit images)"
    steps = f"({steps} - mean)" if preprocess.mean else steps
    return f"float32, {axes}: {steps}{' / std' if preprocess.std else ''}"


def _accuracy(quality: Quality | None) -> dict[str, str]:
    if quality is None:
        return {}
    low, high = quality.interval
    return {"top1_percent": f"{quality.top1:.2f} [{low:.2f}, {high:.2f}] of {quality.images} test images"}


def _noted(artifact: Artifact, folder: Path, notes: Mapping[str, str]) -> Artifact:
    format: FileFormat = build("formats", artifact.format)
    path = folder / artifact.path
    with written_whole(path) as scratch:
        format.note(path, scratch, notes)
    contents = format.look(path)
    return artifact.model_copy(
        update={
            "bytes": contents.bytes,
            "sha256": contents.sha256,
            "transposes": contents.transposes,
        }
    )

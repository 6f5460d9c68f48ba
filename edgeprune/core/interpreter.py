"""Interpreters: what runs our Python files on a device, and how it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.survey import Survey

CARRIED_FORMATS = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}
"""Formats that our Python files on devices know, and the package that they need for each."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs the runner on a device: a Python of its own, or a capsule that is carried there."""

    why: str
    python: str = "python3"
    capsule: Path | None = None


def choose_interpreter(
    facts: Survey, formats: Sequence[str], *, python: str = "", capsule: Path | None = None
) -> Interpreter:
    """The capsule where one is given, else a Python of the device's own that has every runtime needed.

    Raises
    ------
    RequestError
        The folder is no capsule.
    DeviceError
        No Python there has what the formats need; the hint says both ways out.
    """
    if capsule is not None:
        require_capsule(capsule)
        return Interpreter(f"capsule {capsule}, nothing of the device's own", capsule=capsule)
    for one in facts.pythons:
        runtimes = [one.runtime_for(format) for format in formats]
        if all(runtimes):
            words = ", ".join(f"{name} {one.packages[name]}" for name in runtimes if name)
            return Interpreter(f"the device's own {one.path} {one.version} with {words}", one.path)
    if not facts.machine:  # a rehearsed device says nothing of itself
        return Interpreter("a Python of the device's own", python or "python3")
    wanted = " ".join(["numpy", *(CARRIED_FORMATS[format] for format in formats)])
    found = "; ".join(
        f"{one.path} {one.version} has {', '.join(one.packages) or 'none of them'}" for one in facts.pythons
    )
    raise DeviceError(
        f"{facts.address}: no Python there has {wanted.replace(' ', ' and ')} "
        f"({found or 'there is no Python'})",
        hint=f"there: `python3 -m venv edge && edge/bin/pip install {wanted}`, then "
        "`--python edge/bin/python`; or carry all of it along and install nothing: `--capsule FOLDER`",
    )


def require_capsule(folder: Path) -> None:
    """Refuse a folder that `sh py` does not start; raises RequestError."""
    if not (folder / "py").is_file():
        raise RequestError(
            f"{folder}: not a capsule (it has no file py)",
            hint="a capsule is a folder with Python and the runtimes, started by `sh py`",
        )

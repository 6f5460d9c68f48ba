"""Interpreters: what runs our Python files on a device, and how it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.capsule import CAPSULE_NAME, Capsule, CapsuleRuntime
from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.glibc import choose_python, parse_version
from edgeprune.core.packages.lock import find_lock
from edgeprune.core.survey import Survey

_CAPSULES: dict[str, tuple[CapsuleRuntime, ...]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("litert", "tflite-runtime"),
}
"""Runtimes of capsules that run a format, the one that is advised first."""
CARRIED_FORMATS = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}
"""Formats that our Python files on devices know, and the package that they need for each."""
WITH_CAPSULE = "`--capsule FOLDER`"
"""How a command takes a capsule along that has an option for it."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What runs the runner on a device: a Python of its own, or a capsule that is carried there."""

    why: str
    python: str = "python3"
    capsule: Path | None = None


def choose_interpreter(
    facts: Survey,
    formats: Sequence[str],
    *,
    python: str = "",
    capsule: Path | None = None,
    carry: str = WITH_CAPSULE,
) -> Interpreter:
    """The capsule where one is given, else a Python of the device's own that has every runtime needed.

    `carry` is what a hint says about taking a capsule along.

    Raises
    ------
    RequestError
        The folder is no capsule, or one for another machine or other formats.
    DeviceError
        No Python there has what the formats need; the hint says both ways out.
    """
    if capsule is not None:
        require_capsule(capsule, facts.machine, formats)
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
        hint=ways_out(facts, formats, carry),
    )


def ways_out(facts: Survey, formats: Sequence[str], carry: str = WITH_CAPSULE) -> str:
    """What to do where no Python of a device has what formats need: install there, or carry it along.

    Installing is no way out where the wheels' shared objects ask for a newer glibc than the device has.
    """
    for format in formats:
        unfit = _unfit(facts, _CAPSULES[format][0])
        if unfit:
            return f"{unfit}: carry all of it along, {_built(format, facts.machine)}, then {carry}"
    wanted = " ".join(["numpy", *(CARRIED_FORMATS[format] for format in formats)])
    return (
        f"there: `python3 -m venv edge && edge/bin/pip install {wanted}`, then "
        f"`--python edge/bin/python`; or carry all of it along and install nothing: {carry}"
    )


def _unfit(facts: Survey, runtime: CapsuleRuntime) -> str:
    """Why no Python of the device's own can load a runtime's wheels; '' where one can, or nobody knows."""
    needs = find_lock().needs.get(_arch(facts.machine), {}).get(runtime)  # type: ignore[call-overload]
    if needs is None or not facts.libc:
        return ""
    glibc = parse_version(facts.libc.removeprefix("glibc ")) if facts.libc.startswith("glibc ") else None
    # Wheels are published for every Python: what is asked is whether glibc suffices.
    choice = choose_python(needs, glibc=glibc, python=(3, 11))
    return choice.why if choice.python == "capsule" else ""


def require_capsule(folder: Path, machine: str, formats: Sequence[str]) -> None:
    """Refuse a folder that `sh py` does not start, or that was built for something else.

    Folders that are made otherwise than by `edgeprune capsule build` are taken as they are, and so is any for
    a machine that is not known ('').

    Raises
    ------
    RequestError
        The hint says how the right one is built.
    """
    if not (folder / "py").is_file():
        raise RequestError(
            f"{folder}: not a capsule (it has no file py)",
            hint="a capsule is a folder with Python and the runtimes, started by `sh py`",
        )
    if not (folder / CAPSULE_NAME).is_file():
        return
    found = Capsule.load(folder / CAPSULE_NAME)
    for format in formats:
        if machine and found.arch != _arch(machine):
            why = f"it is a capsule for {found.arch}, the device is {machine}"
        elif found.runtime not in _CAPSULES[format]:
            why = f"it is a capsule with {found.runtime}, which runs no .{format} files"
        else:
            continue
        raise RequestError(f"{folder}: {why}", hint=_built(format, machine or found.arch))


def _built(format: str, machine: str) -> str:
    return f"`edgeprune capsule build --runtime {_CAPSULES[format][0]} --arch {_arch(machine)}`"


def _arch(machine: str) -> str:
    """The machine in the words of the lock."""
    return "armhf" if machine in {"armv7l", "armv6l"} else machine

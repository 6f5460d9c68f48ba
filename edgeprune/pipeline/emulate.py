"""Files on emulated boards: packages, capsules, answers here and there, in that order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.core.board import find_board
from edgeprune.core.emulation import Emulation
from edgeprune.core.errors import RequestError
from edgeprune.core.packages.lock import find_lock
from edgeprune.core.progress import Progress
from edgeprune.core.qemu import find_qemu
from edgeprune.stages.capsule.build import kept_capsule
from edgeprune.stages.emulate.run import emulate as run
from edgeprune.stages.emulate.subject import RUNTIMES, read_subject
from edgeprune.stages.profile import describe_device

IMAGES = 4


def emulate(
    files: Sequence[Path],
    boards: Sequence[str],
    *,
    data: str | None = None,
    images: int | None = None,
    progress: Progress | None = None,
) -> Emulation:
    """Run files, or all files of run folders, on emulated boards and compare the answers with this machine's.

    Raises
    ------
    RequestError
        An unknown board, a file that no runtime runs, packages that cannot be had.
    DeviceError
        No emulator here, or a runtime that refuses a file.
    """
    chosen = [find_board(name) for name in boards]
    subjects = [read_subject(path) for path in _loose(files)]
    qemu = find_qemu()
    lock = find_lock()
    wanted = dict.fromkeys(subject.runtime for subject in subjects)
    return run(
        subjects,
        chosen,
        qemu=qemu,
        capsules={runtime: kept_capsule(runtime, "aarch64", lock, progress) for runtime in wanted},
        host=describe_device().cpu,
        data=data,
        images=images or IMAGES,
        progress=progress,
    )


def _loose(paths: Sequence[Path]) -> list[Path]:
    """Files, each once; a folder stands for the files that lie in it."""
    found: list[Path] = []
    for path in paths:
        inside = [one for suffix in RUNTIMES for one in sorted(path.glob(f"*.{suffix}"))]
        if path.is_dir() and not inside:
            raise RequestError(
                f"{path}: no ONNX or TFLite file in it", hint="name the folder of a finished run, or files"
            )
        found += inside or [path]
    return list(dict.fromkeys(found))

"""Run: every file on every board beside this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.core.board import Board
from edgeprune.core.capsule import CapsuleRuntime
from edgeprune.core.emulation import EmulatedFile, Emulation
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.qemu import Qemu
from edgeprune.stages.emulate.answer import Answers, Emulator, answer_emulated, answer_here
from edgeprune.stages.emulate.compare import judged, likeness
from edgeprune.stages.emulate.counter import compiled_counter, uncounted
from edgeprune.stages.emulate.inputs import images_for, inputs_of
from edgeprune.stages.emulate.subject import Subject


def emulate(
    subjects: Sequence[Subject],
    boards: Sequence[Board],
    *,
    qemu: Qemu,
    capsules: Mapping[CapsuleRuntime, Path],
    host: str,
    data: str | None = None,
    images: int = 4,
    progress: Progress | None = None,
) -> Emulation:
    """What every file answers on every board, beside this machine, and how many instructions it takes there.

    Parameters
    ----------
    data : str, optional
        As for `--data`; without it seeded noise goes in.

    Raises
    ------
    DeviceError
        A runtime refuses a file or ends.
    """
    progress = progress or Silent()
    reason = uncounted(qemu)
    counter = None if reason else compiled_counter()
    files = []
    progress.start("emulate", len(subjects) * (1 + len(boards)))
    for subject in subjects:
        given = None if data is None else images_for(subject.path, data, images)
        inputs = inputs_of(subject.artifact.inputs[0], given, images)
        here = answer_here(subject, inputs)
        progress.advance()
        for board in boards:
            emulator = Emulator(board, qemu, capsules[subject.runtime], counter)
            files.append(_compared(subject, board, here, answer_emulated(subject, inputs, emulator)))
            progress.advance()
    progress.finish()
    return Emulation(
        qemu=qemu.version,
        host=host,
        inputs=f"{images} of {data}" if data else f"{images} of seeded noise",
        uncounted=reason,
        files=tuple(files),
    )


def _compared(subject: Subject, board: Board, here: Answers, there: Answers) -> EmulatedFile:
    artifact = subject.artifact
    found = likeness(here.outputs, there.outputs, subject.step)
    passed, why = judged(found, artifact.precision, subject.float_operators)
    return EmulatedFile(
        path=artifact.path,
        sha256=artifact.sha256,
        format=artifact.format,
        precision=artifact.precision,
        board=board.name,
        runtime=subject.runtime,
        version=there.version,
        likeness=found,
        instructions=there.instructions,
        passed=passed,
        why=why,
    )

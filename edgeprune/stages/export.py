"""Export: the captured program as one float32 file per format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.core.artifact import Artifact, Format, Tensor
from edgeprune.core.errors import ModelError
from edgeprune.core.files import written_whole
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Exporter
from edgeprune.core.registry import build
from edgeprune.graph.capture import Program


def export(
    program: Program,
    formats: Sequence[Format],
    folder: Path,
    *,
    parent: str,
    name: str = "export",
    progress: Progress | None = None,
) -> tuple[list[Artifact], dict[str, str]]:
    """The files that could be written, and why the others could not.

    Raises
    ------
    ModelError
        No format could be written; the message is the last reason.
    """
    progress = progress or Silent()
    progress.start(name, len(formats))
    exported, example = program.exported(), program.example(2)
    answer = program.run(example)
    written: list[Artifact] = []
    failed: dict[str, str] = {}
    for format in formats:
        exporter: Exporter = build("exporters", format)
        path = folder / f"model.{format}"
        try:
            with written_whole(path) as scratch:
                exporter.export(exported, example, scratch)
        except ModelError as error:
            failed[format] = error.message
        else:
            batch = None if format == "onnx" else 1
            written.append(
                Artifact.of_file(
                    path,
                    format=format,
                    precision="fp32",
                    parent=parent,
                    inputs=(Tensor(name="input", shape=(batch, *program.input_size), dtype="float32"),),
                    outputs=(Tensor(name="output", shape=(batch, *answer.shape[1:]), dtype="float32"),),
                )
            )
        progress.advance()
    progress.finish()
    if not written:
        raise ModelError("; ".join(failed.values()), hint="the shrunk network itself is in model.pt2")
    return written, failed

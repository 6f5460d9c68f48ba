"""Export: the captured program as one float32 file per format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from edgeprune.core.artifact import Artifact, Format, Tensor
from edgeprune.core.errors import ModelError
from edgeprune.core.files import written_whole
from edgeprune.core.interface import Interface
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Exporter
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build, find
from edgeprune.graph.adapted import adapted
from edgeprune.graph.capture import Program
from edgeprune.graph.portable import portable


def export(
    program: Program,
    formats: Sequence[Format],
    folder: Path,
    *,
    parent: str,
    interface: Interface | None = None,
    preprocess: Preprocess | None = None,
    versions: Mapping[Format, str] | None = None,
    name: str = "export",
    progress: Progress | None = None,
) -> tuple[list[Artifact], dict[str, str]]:
    """The files that could be written, and why the others could not.

    Parameters
    ----------
    interface, preprocess : optional
        What the files take and answer, and how images are normalised where they do so themselves.
    versions : mapping, optional
        Per format the oldest version of its runtime that must read the file.

    Raises
    ------
    ModelError
        No format could be written; the message is the last reason.
    """
    progress = progress or Silent()
    progress.start(name, len(formats))
    interface = interface or Interface()
    program = adapted(program, interface, preprocess or Preprocess())
    exported, example = portable(program.exported()), program.example(2)
    written: list[Artifact] = []
    failed: dict[str, str] = {}
    for format in formats:
        exporter, free = _exporter(format, interface, (versions or {}).get(format, ""))
        path = folder / _file_name(exporter)
        try:
            with written_whole(path) as scratch:
                exporter.export(exported, example, scratch)
        except ModelError as error:
            failed[format] = error.message
        else:
            inputs, outputs = _ends(program, interface, None if free else 1)
            written.append(
                Artifact.of_file(
                    path, format=format, precision="fp32", parent=parent, inputs=inputs, outputs=outputs
                )
            )
        progress.advance()
    progress.finish()
    if not written:
        raise ModelError("; ".join(failed.values()), hint="the shrunk network itself is in model.pt2")
    return written, failed


def _exporter(format: Format, interface: Interface, version: str) -> tuple[Exporter, bool]:
    """The exporter with what it offers to be told, and whether its files take any number of inputs."""
    told: dict[str, object] = {
        "outputs": interface.outputs,
        "free_batch": interface.batch != "one",
        "runtime_version": version,
    }
    offered = {field.name for field in fields(find("exporters", format)) if field.init}
    free = "free_batch" in offered and interface.batch != "one"
    return build("exporters", format, {name: told[name] for name in told.keys() & offered}), free


def _file_name(exporter: Exporter) -> str:
    """`model.onnx`; where the shrunk network itself has that name, with the precision: `model.fp32.pt2`."""
    suffix = getattr(exporter, "suffix", exporter.format)
    return "model.fp32.pt2" if suffix == "pt2" else f"model.{suffix}"


def _ends(
    program: Program, interface: Interface, batch: int | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What goes in and comes out, by name."""
    example = program.example(2)
    answers = program.answers([example])
    return tuple(
        tuple(
            Tensor(name=name, shape=(batch, *value.shape[1:]), dtype=str(value.dtype).removeprefix("torch."))
            for name, value in zip(names, values, strict=True)
        )
        for names, values in ((("input",), [example]), (interface.outputs, answers))
    )  # type: ignore[return-value]

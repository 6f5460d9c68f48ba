"""`edgeprune verify`: files on the kernels of an emulated board, beside this machine's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for
from edgeprune.core.errors import GateError, RequestError

if TYPE_CHECKING:
    from edgeprune.core.emulation import Growth


def verify(
    files: Annotated[list[Path], typer.Argument(help="ONNX and TFLite files, or run folders.")],
    on: Annotated[str, typer.Option(help="Boards: rpi-zero-2w, rpi3, rpi4, rpi5, phone; commas between.")],
    data: options.Data = None,
    images: Annotated[int | None, typer.Option(min=1, help="Inputs for every file; default 4.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier result (--save, --json) to compare instructions with.")
    ] = None,
    max_instructions: Annotated[
        str | None,
        typer.Option(help="Exit 1 when an inference takes more than the baseline's by so much: +0%."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the document to this file.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer on the kernels of a board's core, emulated, count instructions, and say where answers differ."""
    from edgeprune.cli import boards
    from edgeprune.core.emulation import Emulation, grown
    from edgeprune.pipeline.emulate import emulate

    percent = _percent(max_instructions, baseline)
    before = None if baseline is None else Emulation.load(baseline)
    names = [name.strip() for name in on.split(",") if name.strip()]
    with progress_for(quiet=quiet) as progress:
        found = emulate(files, names, data=data, images=images, progress=progress)
    growth = [] if before is None else found.growth(before)
    if save is not None:
        found.save(save)
    if json:
        print(found.to_json())
    elif not quiet:
        boards.emulation(found, growth)
    if failures := found.failures():
        raise GateError(
            f"answers differ: {'; '.join(failures)}", hint="look at the file's operators on that board first"
        )
    if percent is not None:
        _gate(growth, grown(growth, percent), percent, found.uncounted)


def _percent(text: str | None, baseline: Path | None) -> float | None:
    if text is None:
        return None
    if baseline is None:
        raise RequestError("--max-instructions needs --baseline", hint="name the file of an earlier --save")
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError as error:
        raise RequestError(
            f"--max-instructions '{text}' is no percentage", hint="write +0% or +5%"
        ) from error


def _gate(rows: list[Growth], grew: list[Growth], percent: float, uncounted: str) -> None:
    if uncounted or not rows:
        why = uncounted or "no file of the baseline was run on the same board"
        raise RequestError(
            f"--max-instructions cannot be judged: {why}", hint="see `edgeprune verify --help`"
        )
    if grew:
        named = "; ".join(f"{row.path} on {row.board} {row.percent:+.2f} %" for row in grew)
        raise GateError(
            f"more instructions than the baseline {percent:+g} %: {named}",
            hint="counts of one file repeat to 0.1 %, so the file changed or its runtime did",
        )

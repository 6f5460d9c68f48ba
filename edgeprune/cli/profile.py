"""`edgeprune profile`: time files on this machine, or on a device at an address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for


def profile(
    files: Annotated[list[Path], typer.Argument(help="ONNX and TFLite files.")],
    target: options.Target = "x86-64",
    at: Annotated[
        str, typer.Option(help="Where: local, pi@host, pi@host:2222, ssh:NAME of ~/.ssh/config, adb:SERIAL.")
    ] = "local",
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads; default what the target says. Repeat it to compare several."),
    ] = None,
    python: Annotated[str, typer.Option(help="Python on the device, e.g. edge/bin/python.")] = "",
    capsule: Annotated[
        Path | None,
        typer.Option(help="Folder with Python and runtimes, carried there: nothing is installed."),
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="Time per operator, too (ONNX).")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every command for the device and run none.")
    ] = False,
    transcript: Annotated[
        Path | None, typer.Option(help="Write every command for the device and its answer to this file.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Measure latency on this machine or a device, files taking turns; p50, p90, p95, p99."""
    from edgeprune.cli import render
    from edgeprune.core.address import transport_at
    from edgeprune.core.rehearsal import Rehearsal
    from edgeprune.core.target import find_target
    from edgeprune.core.transcript import Recorder
    from edgeprune.stages.profile import How, profile_files

    chosen, transport = find_target(target), transport_at(at)
    if dry_run:
        transport = Rehearsal(at, print)
    elif transcript is not None:
        transport = Recorder(transport, transcript)
    how = How(tuple(threads or ()), python, capsule, operators)
    with progress_for(quiet=quiet or dry_run) as progress:
        found = profile_files(files, chosen, at=at, transport=transport, how=how, progress=progress)
    if found is None:
        return 0
    if json:
        print(found.to_json())
    elif not quiet:
        render.profiling(found)
    invalid = [file for file in found.files if file.latency.invalid]
    for file in invalid:
        print(f"INVALID {file.artifact.path}: {file.latency.invalid}", file=sys.stderr)
    return 3 if invalid else 0

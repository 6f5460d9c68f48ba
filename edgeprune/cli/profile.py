"""`edgeprune profile`: time files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for


def profile(
    files: Annotated[list[Path], typer.Argument(help="ONNX and TFLite files.")],
    target: options.Target = "x86-64",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default what the target says.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure latency on this machine, files taking turns; p50, p95, p99."""
    from edgeprune.cli import render
    from edgeprune.core.target import find_target
    from edgeprune.stages.profile import profile_files

    chosen = find_target(target)
    with progress_for(quiet=quiet) as progress:
        found = profile_files(files, chosen, threads=threads, progress=progress)
    if json:
        print(found.to_json())
    elif not quiet:
        render.profiling(found)

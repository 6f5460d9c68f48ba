"""`edgeprune capsule`: folders that run Python and one runtime on a device that has neither."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for
from edgeprune.core.errors import RequestError, did_you_mean

app = typer.Typer(
    help="Folders that run Python and one runtime on a device that has neither.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_Lock = Annotated[
    Path | None,
    typer.Option(
        help="Which packages: a file of `edgeprune capsule lock`; default your own, or the built-in."
    ),
]


@app.command()
def build(
    runtime: Annotated[str, typer.Option(help="litert, onnxruntime or tflite-runtime.")],
    arch: Annotated[str, typer.Option(help="aarch64, armhf or x86_64.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder; default capsule-RUNTIME-ARCH.")
    ] = None,
    lock: _Lock = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a folder that starts as `sh py SCRIPT` and needs nothing of a device but its kernel."""
    from typing import get_args

    from edgeprune.cli import boards
    from edgeprune.core.capsule import Arch, CapsuleRuntime
    from edgeprune.core.packages.lock import find_lock
    from edgeprune.stages.capsule.build import build as run

    for option, value, known in (("runtime", runtime, CapsuleRuntime), ("arch", arch, Arch)):
        if value not in get_args(known):
            raise RequestError(f"--{option}: unknown '{value}'", hint=did_you_mean(value, get_args(known)))
    folder = out or Path(f"capsule-{runtime}-{arch}")
    with progress_for(quiet=quiet) as progress:
        # The two were looked up in their types' own words just above.
        made = run(runtime, arch, find_lock(lock), folder, progress)  # type: ignore[arg-type]
    if json:
        print(made.to_json())
    elif not quiet:
        boards.capsule(made, folder)


@app.command()
def lock(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default your own lock, which comes first.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Pin the packages that Debian and the package index offer today, with their hashes."""
    from edgeprune.core.packages.lock import own_lock
    from edgeprune.stages.capsule.pin import pin

    path = out or own_lock()
    with progress_for(quiet=quiet) as progress:
        pin(progress).save(path)
    if not quiet:
        print(f"wrote {path}")

"""`edgeprune keys`: the pair that signs bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options

app = typer.Typer(help="Keys that sign bundles.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Keys that sign bundles."""


@app.command()
def new(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for both files; default where they are looked for."),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make an Ed25519 pair: the .key signs and stays with you, the .pub says whom to trust."""
    from edgeprune.core.keys import fingerprint, keys_folder, load_trusted, new_key

    private, public = new_key(out or keys_folder())
    if not quiet:
        print(f"{private}: signs; keep it to yourself")
        print(f"{public}: for --trust; {fingerprint(load_trusted([public])[0])}")

"""`edgeprune device`: look at a board or phone before measuring on it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeprune.cli import options

app = typer.Typer(help="Boards and phones at an address.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """Boards and phones at an address."""


@app.command()
def doctor(
    address: Annotated[str, typer.Argument(help="local, pi@host, ssh:NAME of ~/.ssh/config, adb:SERIAL.")],
    target: Annotated[str | None, typer.Option(help="The target it should be.")] = None,
    python: Annotated[str, typer.Option(help="Python on the device to look at, too.")] = "",
    json: options.Json = False,
) -> int:
    """Is it reachable, what is it, what runs there, and what should be done before measuring."""
    from edgeprune.cli import render
    from edgeprune.core.target import find_target
    from edgeprune.stages.diagnose import diagnose

    found = diagnose(address, find_target(target) if target else None, python=python)
    if json:
        print(found.to_json())
    else:
        render.diagnosis(found)
    return 3 if any(one.blocks for one in found.obstacles) else 0

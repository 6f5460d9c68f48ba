"""`edgeprune targets`: the devices this installation knows."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeprune.cli import options

app = typer.Typer(help="The devices edgeprune knows.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_targets(json: options.Json = False) -> None:
    """List every target by name."""
    from edgeprune.core.target import Target, target_files

    found = [Target.load(path) for path in target_files().values()]
    if json:
        import json as encoder

        print(encoder.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        print(f"{one.name:{width}s}  {one.summary}{'  (this machine)' if one.at_hand() else ''}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A target's name, or the path of its TOML file.")],
    json: options.Json = False,
) -> None:
    """Show one target's facts and where they come from."""
    from edgeprune.core.target import find_target

    target = find_target(name)
    if json:
        print(target.to_json())
        return
    from edgeprune.cli import render

    render.target(target)

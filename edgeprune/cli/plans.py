"""`edgeprune apply` and `edgeprune diff`: plans carried out again, and side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.units import parse_shape

PlanFile = Annotated[Path, typer.Argument(help="plan.json, or the run folder that holds it.")]


def apply(
    plan: PlanFile,
    model: options.ModelFile,
    arch: options.Arch = None,
    input: options.Input = None,
    out: Annotated[Path | None, typer.Option(help="The .pt2 to write; default MODEL-shrunk.pt2.")] = None,
    state: Annotated[Path | None, typer.Option(help="Write the narrow state dict here, too (.pt).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
) -> None:
    """Carry out a plan on another checkpoint of the network it was made for, with the proof."""
    size = parse_shape(input) if input else None

    from edgeprune.cli import render
    from edgeprune.pipeline.carry_out import apply as run

    done = run(
        plan,
        model,
        arch=arch,
        input=size,
        out=out,
        state=state,
        force=force,
        trust_pickle=trust_pickle,
    )
    if json:
        print(done.to_json())
    else:
        render.application(done)


def diff(before: PlanFile, after: PlanFile, json: options.Json = False) -> None:
    """Say which units only one of two plans keeps, and what either plan costs."""
    from edgeprune.cli import render
    from edgeprune.core.plan import find_plan

    found = find_plan(before).compare(find_plan(after), names=(str(before), str(after)))
    if json:
        print(found.to_json())
    else:
        render.difference(found)

"""`edgeprune inspect`: what can be cut, and why the rest cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.units import parse_shape


def inspect(
    model: Annotated[
        Path | None, typer.Argument(help="A .pt2 archive, state dict or checkpoint; none with --arch.")
    ] = None,
    arch: options.Arch = None,
    input: options.Input = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
) -> None:
    """List the groups of channels that go together, what each would save, and what is locked."""
    size = parse_shape(input) if input else None

    from edgeprune.cli import render
    from edgeprune.pipeline import inspect as run

    found = run(model, arch=arch, input=size, trust_pickle=trust_pickle)
    if json:
        print(found.to_json())
    else:
        render.inspection(found)

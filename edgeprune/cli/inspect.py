"""`edgeprune inspect`: what can be cut, and why the rest cannot."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.inputs import parse_input


def inspect(
    model: options.AnyModel = None,
    arch: options.Arch = None,
    input: options.Inputs = None,
    tree: Annotated[
        bool, typer.Option("--tree", help="The module hierarchy with every layer's group.")
    ] = False,
    all: Annotated[bool, typer.Option("--all", help="Every locked group in a line of its own.")] = False,
    allow_inexact: options.AllowInexact = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
) -> None:
    """List the groups of channels that go together, what each would save, and what is locked."""
    inputs = tuple(parse_input(one) for one in input or [])

    from edgeprune.cli import render
    from edgeprune.cli.tree import print_tree
    from edgeprune.pipeline import inspect as run

    found = run(model, arch=arch, input=inputs, trust_pickle=trust_pickle, allow_inexact=allow_inexact or ())
    if json:
        print(found.to_json())
    elif tree:
        print_tree(found, all=all)
    else:
        render.inspection(found, all=all)

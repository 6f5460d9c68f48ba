"""`edgeprune inspect`: what can be cut, and why the rest cannot; of a finished file, what it holds."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.inputs import parse_input
from edgeprune.core.registry import names


def inspect(
    model: options.AnyFile = None,
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
    """List the groups of channels that go together; of an .onnx or .tflite file, what it holds."""
    if model is not None and model.suffix.removeprefix(".") in names("formats"):
        from edgeprune.stages.look_into import look_into

        held = look_into(model)
        if json:
            print(held.to_json())
        else:
            from edgeprune.cli.held import print_contents

            print_contents(held)
        return
    inputs = tuple(parse_input(one) for one in input or [])

    from edgeprune.cli import render
    from edgeprune.cli.tree import print_tree
    from edgeprune.pipeline.look import inspect as run

    found = run(model, arch=arch, input=inputs, trust_pickle=trust_pickle, allow_inexact=allow_inexact or ())
    if json:
        print(found.to_json())
    elif tree:
        print_tree(found, all=all)
    else:
        render.inspection(found, all=all)

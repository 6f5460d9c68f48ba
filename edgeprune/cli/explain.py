"""`edgeprune explain`: the way of one layer's channels through the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.errors import RequestError
from edgeprune.core.explanation import Explanation, LayerExplanation, Membership, Step
from edgeprune.core.inputs import parse_input
from edgeprune.core.units import format_count, format_operator

_LINES = 16
"""Steps that are shown without --all: a residual stream has hundreds."""
_NAMES = 4
"""Layers that are named in one line."""


def explain(
    model: Annotated[
        str, typer.Argument(help="A .pt2 archive, state dict or checkpoint; with --arch the layer alone.")
    ],
    layer: Annotated[
        str | None, typer.Argument(help="A layer, layer4.0.conv1, or a module, layer4.0: all below it.")
    ] = None,
    arch: options.Arch = None,
    input: options.Inputs = None,
    all: Annotated[bool, typer.Option("--all", help="Every step and every name.")] = False,
    allow_inexact: options.AllowInexact = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
) -> None:
    """Follow the channels of one layer: who makes, passes and reads them, and what goes with one."""
    inputs = tuple(parse_input(one) for one in input or [])
    if layer is None and arch is None:
        raise RequestError("no layer is named", hint="edgeprune explain MODEL layer4.0.conv1")

    from edgeprune.pipeline.look import explain as run

    found = run(
        model if layer is not None else None,
        layer=layer or model,
        arch=arch,
        input=inputs,
        trust_pickle=trust_pickle,
        allow_inexact=allow_inexact or (),
    )
    if json:
        print(found.to_json())
    else:
        _print(found, all=all)


def _print(document: Explanation, *, all: bool) -> None:
    from edgeprune.cli import render

    out = render.console()
    if len(document.layers) == 1:
        for line in _at_length(document.layers[0], all=all):
            out.print(line, markup=False)
        return
    for one in document.layers:
        for line in _briefly(one):
            out.print(line, markup=False)


def _at_length(one: LayerExplanation, *, all: bool) -> Iterator[str]:
    yield _title(one)
    if one.sources:
        yield f"its input comes from {_listed(one.sources, all=all)}"
    for member in one.groups:
        yield from _membership(member)
    lines = [_line(list(steps), all=all) for _, steps in groupby(one.steps, _alike)]
    shown = lines if all else lines[:_LINES]
    yield from shown
    if len(shown) < len(lines):
        yield f"  ... and {len(lines) - len(shown)} more lines, which --all shows"
    for member in one.groups:
        yield from _removal(member, all=all)
    for name in one.branches:
        yield f"it goes altogether where the residual branch {name} is cut (group blocks)"


def _briefly(one: LayerExplanation) -> Iterator[str]:
    yield _title(one)
    for member in one.groups:
        yield from (f"  {line}" for line in _membership(member))
    readers = [step for step in one.steps if step.does in {"read", "sum", "end"}]
    if readers:
        more = f" and {len(readers) - _NAMES} more" if len(readers) > _NAMES else ""
        yield f"  read by {', '.join(_operators([step]) for step in readers[:_NAMES])}{more}"


def _title(one: LayerExplanation) -> str:
    layer = one.layer
    width = " -> ".join(str(size) for size in (layer.reads, layer.makes) if size)
    source = f" ({layer.source})" if layer.source else ""
    return f"{layer.path}: {format_operator(layer.operator)}{f' {width}' if width else ''}{source}"


def _membership(member: Membership) -> Iterator[str]:
    from edgeprune.cli import render

    unit = {"channels": "channels", "width": "dimensions of every head"}.get(member.kind, member.kind)
    lock = member.locked
    state = f"not exact under {' and '.join(member.inexact)}" if member.inexact else "may be cut"
    yield f"group {member.group}: {member.units} {unit}, {'locked' if lock else state}"
    if lock:
        yield f"  {render.lock_words([lock])}"
    if lock and lock.hint:
        yield f"  {lock.hint}"


def _alike(step: Step) -> object:
    """Passing operators of one module and line share a line; every other step has its own."""
    return (step.layer, step.source) if step.does == "pass" else id(step)


def _line(steps: Sequence[Step], *, all: bool) -> str:
    first = steps[0]
    others = _listed(first.others, all=all) if first.others else "channels named above"
    tail = {
        "pass": "",
        "meet": f": cut alike with {others}",
        "join": f": beside {others}",
        "read": "",
        "sum": ": a cut one counts as zero",
        "end": "",
    }[first.does]
    return f"  {first.does:<4}  {_operators(steps)}{tail}"


def _operators(steps: Sequence[Step]) -> str:
    """Operators of one module and line: relu, add (layer4.0, resnet.py:103)."""
    names = ", ".join(dict.fromkeys(format_operator(step.operator) for step in steps))
    place = ", ".join(part for part in (steps[0].layer, steps[0].source) if part)
    return f"{names} ({place})" if place else names


def _removal(member: Membership, *, all: bool) -> Iterator[str]:
    total = sum(member.parameters.values())
    yield f"one unit of {member.group}: {format_count(member.macs)} MACs, {format_count(total)} parameters"
    yield f"  {_listed([f'{name} {count}' for name, count in member.parameters.items()], all=all)}"


def _listed(names: Sequence[str], *, all: bool) -> str:
    if all or len(names) <= _NAMES + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES])} and {len(names) - _NAMES} more"

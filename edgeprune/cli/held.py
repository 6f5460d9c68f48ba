"""What a finished file holds, as people read it."""

from __future__ import annotations

from edgeprune.cli.render import console
from edgeprune.core.artifact import Tensor
from edgeprune.core.contents import Contents
from edgeprune.core.units import format_bytes


def print_contents(held: Contents) -> None:
    """Ends, operators, weights and notes, a line each."""
    out = console()
    lines = [
        f"{held.path}: {held.format}, {held.precision}, {format_bytes(held.bytes)}, {held.made_for}",
        *(f"input {_tensor(one)}" for one in held.inputs),
        *(f"output {_tensor(one)}" for one in held.outputs),
        f"{sum(held.operators.values())} operators: {_counts(held.operators)}",
        _transposes(held.transposes),
        "weights: " + ", ".join(f"{name} {format_bytes(size)}" for name, size in held.weights.items()),
        *(f"{name}: {value}" for name, value in sorted(held.notes.items())),
        f"sha256: {held.sha256}",
    ]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _tensor(one: Tensor) -> str:
    return f"{one.name}: {one.dtype} {'x'.join('?' if size is None else str(size) for size in one.shape)}"


def _counts(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items())


def _transposes(count: int) -> str:
    if count == 0:
        return "no operator reorders axes"
    return f"{count} operator{'' if count == 1 else 's'} reorder{'s' if count == 1 else ''} axes"

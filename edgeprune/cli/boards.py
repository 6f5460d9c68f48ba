"""Capsules and emulated boards as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from edgeprune.cli.render import console
from edgeprune.core.capsule import Capsule
from edgeprune.core.emulation import EmulatedFile, Emulation, Growth, Likeness
from edgeprune.core.units import format_bytes, format_count


def capsule(document: Capsule, folder: Path) -> None:
    """A capsule that was made."""
    out = console()
    own = next(one for one in document.packages if one.name.endswith(document.runtime))
    out.print(
        f"{folder}: {document.runtime} {own.version} on Python {document.python} for {document.arch}, "
        f"{document.files} files, {format_bytes(document.bytes)}"
    )
    out.print(f"sha256 {document.sha256}")
    out.print(f"on the device: sh {folder.name}/py SCRIPT")


def emulation(document: Emulation, growth: Sequence[Growth]) -> None:
    """Answers and instructions per file and board."""
    out = console()
    table = Table("file", "board", "answers", "top-1 same", "instructions", "float", "dot", "int", "memory",
                  "branches", "change", "verified", box=None)  # fmt: skip
    changes = {(row.path, row.board): f"{row.percent:+.2f} %" for row in growth}
    for file in document.files:
        table.add_row(
            file.path,
            file.board,
            _answers(file.likeness),
            "-" if file.likeness.top1 is None else f"{file.likeness.top1:.0f} %",
            *_instructions(file),
            changes.get((file.path, file.board), ""),
            "yes" if file.passed else "[red]no[/]",
        )
    out.print(table)
    for file in document.files:
        # Float answers always differ a little; the table says by how much.
        if file.why and (file.likeness.max_lsb is not None or not file.passed):
            out.print(f"{file.path} on {file.board}: {file.why}")
    runtimes = ", ".join(sorted({f"{file.runtime} {file.version}" for file in document.files}))
    out.print(f"{document.inputs}, beside {document.host}; {runtimes}; qemu {document.qemu}")
    if document.uncounted:
        out.print(f"[yellow]instructions were not counted:[/] {document.uncounted}")
    else:
        out.print("instructions of one inference on one thread; they are work, not latency")


def _answers(found: Likeness) -> str:
    if found.equal:
        return "equal"
    if found.relative is None:
        return "not finite"
    if found.max_lsb is not None:
        return f"{found.max_lsb:g} steps"
    return f"{found.relative:.0e} relative"


def _instructions(file: EmulatedFile) -> list[str]:
    counted = file.instructions
    if counted is None:
        return ["-"] * 6
    classes = (
        counted.total,
        counted.float_multiply_add,
        counted.dot_product,
        counted.integer_multiply_add,
        counted.load_store,
        counted.branch,
    )
    return [format_count(number) for number in classes]

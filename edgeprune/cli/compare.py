"""`edgeprune compare`: two reports side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.errors import GateError, RequestError


def compare(
    before: Annotated[Path, typer.Argument(help="report.json, or the run folder that holds it.")],
    after: Annotated[Path, typer.Argument(help="report.json, or the run folder that holds it.")],
    max_slowdown: Annotated[
        float | None,
        typer.Option(help="Exit 1 when a file is certainly slower by more than this percentage."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say which files became faster, smaller or worse, with an interval for every ratio."""
    from edgeprune.cli import render
    from edgeprune.core.report import Report
    from edgeprune.stages.compare import compare as run

    first, second = _report(before), _report(after)
    found = run(Report.load(first), Report.load(second), names=(str(first), str(second)))
    if json:
        print(found.to_json())
    else:
        render.comparison(found)
    if max_slowdown is not None:
        limit = 1 + max_slowdown / 100
        slow = [row for row in found.rows if row.interval is not None and row.interval[0] > limit]
        if slow:
            names = ", ".join(f"{row.format} {row.precision}" for row in slow)
            raise GateError(
                f"slower by more than {max_slowdown:g} %: {names}",
                hint="the intervals above exclude a smaller slowdown",
            )


def _report(path: Path) -> Path:
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise RequestError(
            f"{file}: no such file", hint="name a report.json, or the run folder that holds one"
        )
    return file

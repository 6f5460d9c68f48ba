"""Child: one measurement in a process of its own, `python -m benchmarks.zoo.child KIND FILE ARGUMENT...`."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KINDS = {
    "network": "cutting:cut_network",
    "reduction": "reductions:reduce",
    "scale": "scales:scale",
    "pattern": "patterns:probe",
    "files": "files:write_files",
    "random": "random_networks:try_networks",
}
"""Where the function of each kind lives; it is given `Notes` and the words of its job."""


class Notes:
    """What is known so far, written down at every step, so that a killed process leaves it behind."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: dict[str, Any] = {"taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}

    def doing(self, what: str, **found: Any) -> None:
        """Note some findings, and what comes next."""
        self.found |= found | {"doing": what}
        self._write()

    def done(self, **found: Any) -> None:
        """Note the last findings."""
        self.found |= found
        self.found.pop("doing", None)
        self._write()

    def _write(self) -> None:
        self._file.write_text(json.dumps(self.found, indent=1), encoding="utf-8")


def main() -> None:
    """Run one job; whatever it raises is its result."""
    kind, file, *arguments = sys.argv[1:]
    module, _, function = KINDS[kind].partition(":")
    notes = Notes(Path(file))
    try:
        getattr(importlib.import_module(f"benchmarks.zoo.{module}"), function)(notes, *arguments)
    except Exception as error:  # a crash of any kind is what a row may have to show
        notes.done(crash=crash_text(error, notes.found.get("doing", "")))
    else:
        notes.done()


def crash_text(error: BaseException, doing: str = "") -> str:
    """`Type: first line (file:line, during: step)` of any exception."""
    lines = str(error).strip().splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    place = ", ".join(part for part in (where, f"during: {doing}" if doing else "") if part)
    text = f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
    return f"{text} ({place})" if place else text


if __name__ == "__main__":
    main()

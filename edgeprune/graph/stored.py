"""Programs in a run folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from edgeprune.graph.capture import Program, from_exported


class Programs:
    """Keeps a captured program as `.pt2`; `sources` keeps the user's lines for reasons and errors."""

    def __init__(self, name: str, *, sources: bool = False) -> None:
        self._name, self._sources = name, sources

    def write(self, value: Program, folder: Path) -> list[Path]:
        """Write the archive."""
        value.save(folder / self._name, sources=self._sources)
        return [folder / self._name]

    def read(self, folder: Path) -> Program:
        """Load it again: the journal's hash says it is the file this tool wrote."""
        return from_exported(torch.export.load(folder / self._name))

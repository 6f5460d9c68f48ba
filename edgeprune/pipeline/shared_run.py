"""A run that several processes work on: the first one keeps the folder, the others do as it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgeprune.core.journal import Run, Store
from edgeprune.graph.processes import Processes

T = TypeVar("T")


class SharedRun:
    """The stages of a run, seen from one of its processes.

    A stage is worked out by the first process only, unless it is shared out between them; either way all
    processes read its result from the run folder, so that they go on from the very same one.
    """

    def __init__(self, run: Run | None, folder: Path, team: Processes) -> None:
        self.folder, self.team = folder, team
        self._run = run

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each finished stage, as the first process took it; empty in the others."""
        return {} if self._run is None else self._run.seconds

    def stage(self, name: str, work: Callable[[], T], store: Store[T], *, shared: bool = False) -> T:
        """The stage's result; `work` is called in all processes at once when it is `shared`."""
        if self._run is None:
            self._follow(work, shared=shared)
            return store.read(self.folder)
        if self.team.count == 1:
            return self._run.stage(name, work, store)
        self._lead(self._run, name, work, store, shared=shared)
        return store.read(self.folder)

    def _lead(self, run: Run, name: str, work: Callable[[], T], store: Store[T], *, shared: bool) -> None:
        called = False

        def announced() -> T:
            nonlocal called
            called = self.team.told(lambda: True)
            return work()

        if shared:
            run.stage(name, announced, store)
            if not called:
                self.team.told(lambda: False)
        self.team.told(lambda: run.stage(name, work, store) and None)

    def _follow(self, work: Callable[[], T], *, shared: bool) -> None:
        """Help when the first process says so, then wait until the result is in the folder."""
        if shared and self.team.told(lambda: False):
            work()
        self.team.told(lambda: None)

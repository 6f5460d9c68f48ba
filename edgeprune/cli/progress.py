"""Progress for people: bars with the time left on a terminal, one line per stage in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeprune.cli.interrupt import heard
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


@contextmanager
def progress_for(*, quiet: bool) -> Iterator[Progress]:
    """The progress that fits: none, bars, or lines; Ctrl-C is heard at each of its steps."""
    with _shown(quiet=quiet) as progress, heard(progress) as listening:
        yield listening


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield Silent()
        return
    # A descriptor of its own: converters are silenced by redirecting the standard ones.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1) as stream:
        if not sys.stderr.isatty():
            yield _Lines(stream)
            return
        from rich.console import Console

        with _Bars(Console(file=stream, force_terminal=True)) as bars:
            yield bars


class _Lines:
    """One line when a stage is done."""

    def __init__(self, stream: object) -> None:
        self._stream = stream
        self._stage, self._started = "", 0.0

    def start(self, stage: str, steps: int | None = None) -> None:
        self._stage, self._started = stage, time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        seconds = format_seconds(time.perf_counter() - self._started)
        print(f"{self._stage:32s} {seconds:>10s}", file=self._stream)  # type: ignore[call-overload]


class _Bars:
    """A bar per running stage, a line per finished one."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:32s}"),
            BarColumn(bar_width=30),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> _Bars:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def start(self, stage: str, steps: int | None = None) -> None:
        self._task = self._rich.add_task(stage, total=steps)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._rich.advance(self._task, steps)

    def finish(self) -> None:
        if self._task is not None:
            task = self._rich.tasks[self._rich.task_ids.index(self._task)]
            total = task.total or 1
            self._rich.update(self._task, total=total, completed=total)

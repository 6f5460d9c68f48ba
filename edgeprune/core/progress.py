"""Progress: how a stage says how far it is; apart from the other protocols because it needs nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far a stage is; the CLI draws bars, tests and libraries ignore it."""

    def start(self, stage: str, steps: int | None = None) -> None:
        """A stage begins; `steps` is None while its length is unknown."""

    def advance(self, steps: int = 1) -> None:
        """Some steps of the current stage are done."""

    def finish(self) -> None:
        """The current stage is done."""


class Silent:
    """The Progress that shows nothing."""

    def start(self, stage: str, steps: int | None = None) -> None:
        """Ignore."""

    def advance(self, steps: int = 1) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

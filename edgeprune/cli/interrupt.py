"""Ctrl-C that is always heard: an engine that swallows it is stopped at its next sign of progress.

torch's ONNX exporter tries several things under handlers that catch everything, KeyboardInterrupt too, and
torch's C++ code may turn one that passes through it into an error of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from edgeprune.core.progress import Progress


@contextmanager
def heard(progress: Progress) -> Iterator[Progress]:
    """The same progress, which raises KeyboardInterrupt once Ctrl-C was pressed."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield progress  # ignored on purpose (nohup), or somebody else listens
        return
    listener = _Listener(progress)
    signal.signal(signal.SIGINT, listener.press)
    try:
        yield listener
    except Exception as error:
        # What became of the KeyboardInterrupt on its way through an engine.
        if listener.pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Listener:
    """Passes progress on until the key was pressed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.pressed = False

    def press(self, *_: object) -> None:
        self.pressed = True
        raise KeyboardInterrupt

    def start(self, stage: str, steps: int | None = None) -> None:
        self._listen()
        self._progress.start(stage, steps)

    def advance(self, steps: int = 1) -> None:
        self._listen()
        self._progress.advance(steps)

    def finish(self) -> None:
        self._listen()
        self._progress.finish()

    def _listen(self) -> None:
        if self.pressed:
            raise KeyboardInterrupt

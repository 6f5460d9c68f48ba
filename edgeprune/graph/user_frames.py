"""User frames: the lines of the user's code that torch.export notes beside every operator."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.fx.proxy

from edgeprune.graph.nodes import TORCH

_OWN = str(Path(__file__).parents[1])
_ANCHORS = "_STACK_TRACE_ANCHORS"
"""Functions that torch keeps in stack traces beside those that are called forward."""


def user_line(error: BaseException) -> str:
    """`file.py:12` of the user's line that raised an error, '' where it is none of theirs."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((TORCH, str(Path(__file__).parent), "<"))
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


@contextmanager
def noting_helpers() -> Iterator[None]:
    """Let functions that a forward calls be noted too: by itself torch names the line that called them."""
    anchors = getattr(torch.fx.proxy, _ANCHORS, None)
    if anchors is None:  # another version of torch keeps the caller's line
        yield
        return
    setattr(torch.fx.proxy, _ANCHORS, _UserFrames(anchors))
    try:
        yield
    finally:
        setattr(torch.fx.proxy, _ANCHORS, anchors)


class _UserFrames(set[tuple[str, str]]):
    """Every function that is neither torch's nor ours, and was not already running when capture began."""

    def __init__(self, anchors: set[tuple[str, str]]) -> None:
        super().__init__(anchors)
        self._running = {
            (frame.f_code.co_filename, frame.f_code.co_name)
            for frame, _ in traceback.walk_stack(sys._getframe())
        }

    def __contains__(self, frame: object) -> bool:
        if super().__contains__(frame):
            return True
        assert isinstance(frame, tuple)
        file, _ = frame
        return not file.startswith((TORCH, _OWN, "<")) and frame not in self._running

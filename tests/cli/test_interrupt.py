"""Ctrl-C is heard, even where an engine swallows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from edgeprune.cli.interrupt import heard
from edgeprune.core.progress import Progress, Silent

STEPS: dict[str, Callable[[Progress], None]] = {
    "start": lambda progress: progress.start("next"),
    "advance": lambda progress: progress.advance(),
    "finish": lambda progress: progress.finish(),
}


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def turned_into_an_error() -> None:
    try:
        press()
    except KeyboardInterrupt as stop:
        raise RuntimeError("from C++") from stop


@pytest.mark.parametrize("step", STEPS)
def test_a_swallowed_ctrl_c_is_heard_at_the_next_step(step: str) -> None:
    with heard(Silent()) as progress:
        with suppress(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):
            STEPS[step](progress)


def test_ctrl_c_stops_at_once_where_nobody_swallows_it() -> None:
    with pytest.raises(KeyboardInterrupt), heard(Silent()):
        press()


def test_an_error_that_ctrl_c_became_is_ctrl_c_again() -> None:
    with pytest.raises(KeyboardInterrupt), heard(Silent()):
        turned_into_an_error()


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="a bug"), heard(Silent()):
        raise RuntimeError("a bug")


def test_afterwards_ctrl_c_is_as_it_was() -> None:
    with heard(Silent()) as progress:
        progress.start("a stage")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heard(Silent()) as progress:
            press()
            progress.finish()
    finally:
        signal.signal(signal.SIGINT, before)

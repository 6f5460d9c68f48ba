"""Silence for chatty engines: whatever they print, at any level, goes to a log kept for errors."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Two threads that saved each other's descriptors would never give the real ones back.
_one_thread = threading.RLock()


class Log:
    """What was printed; filled when the silent block ends."""

    text = ""


@contextmanager
def quiet() -> Iterator[Log]:
    """Redirect file descriptors 1 and 2: converters write from C++ as well as from Python.

    Process-wide while it lasts, so other threads wait for their turn; the command line draws its
    progress on a descriptor of its own.
    """
    with _one_thread:
        yield from _redirected()


def _redirected() -> Iterator[Log]:
    log = Log()
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    streams, disabled = (sys.stdout, sys.stderr), logging.root.manager.disable
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        # Streams may be replaced (by test runners, notebooks): point them at the descriptors too.
        sys.stdout, sys.stderr = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield log
        finally:
            sys.stdout.close()
            sys.stderr.close()
            sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            logging.disable(disabled)
            file.seek(0)
            log.text = file.read().decode("utf-8", "replace")


def first_line(error: BaseException) -> str:
    """The first line of a foreign error, or its type when it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

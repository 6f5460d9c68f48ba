"""Silence reaches every level at which an engine may print, keeps what was said, and ends."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeprune.core.quiet import first_line, quiet


def everything(word: str) -> None:
    """Print from Python, C, a child process, a warning and a logger."""
    print(f"print {word}")
    print(f"error {word}", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, f"write {word}\n".encode())
    os.write(2, f"write 2 {word}\n".encode())
    library = ctypes.CDLL(None)
    library.puts(f"puts {word}".encode())
    library.fflush(None)
    os.system(f"echo echo {word}")
    warnings.warn(f"warning {word}", UserWarning, stacklevel=2)
    logging.getLogger("engine").warning("log %s", word)


def test_nothing_gets_through_and_everything_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as log:
        everything("inside")
    assert capfd.readouterr() == ("", "")
    for line in ("print inside", "error inside", "write inside", "write 2 inside", "puts inside"):
        assert line in log.text.splitlines()
    assert "echo inside" in log.text.splitlines()
    assert "log inside" not in log.text


def test_afterwards_everything_speaks_again(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet():
        pass
    with pytest.warns(UserWarning, match="warning after"):
        everything("after")
    out, err = capfd.readouterr()
    assert {"print after", "write after", "puts after", "echo after"} <= set(out.splitlines())
    assert {"error after", "write 2 after"} <= set(err.splitlines())
    assert caplog.messages == ["log after"]


def test_an_error_inside_ends_the_silence_and_keeps_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    stdout = sys.stdout
    logs = []

    def fail() -> None:
        with quiet() as log:
            logs.append(log)
            os.write(1, b"last words")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert [log.text for log in logs] == ["last words"]
    assert sys.stdout is stdout
    os.write(1, b"loud")
    assert capfd.readouterr().out == "loud"


def test_silences_nest(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as outer:
        os.write(1, b"a")
        with quiet() as inner:
            os.write(1, b"b")
        os.write(1, b"c")
    assert (outer.text, inner.text) == ("ac", "b")
    assert capfd.readouterr() == ("", "")


def test_threads_take_turns_and_the_last_one_gives_everything_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stdout = sys.stdout

    def speak(number: int) -> str:
        with quiet() as log:
            time.sleep(0.01)
            os.write(1, f"thread {number}".encode())
        return log.text

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(speak, range(8))) == [f"thread {number}" for number in range(8)]
    assert sys.stdout is stdout
    os.write(1, b"loud")
    assert capfd.readouterr().out == "loud"


def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with quiet():
            print("x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_bytes_that_are_no_text_are_kept_readable() -> None:
    with quiet() as log:
        os.write(2, b"caf\xe9")
    assert log.text == "caf\ufffd"


def test_the_first_line_of_an_error_is_its_type_when_it_says_nothing() -> None:
    assert first_line(ValueError("\n  one\ntwo")) == "one"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"

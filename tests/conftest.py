"""What every test may rely on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from boards import Board, Phone, adbd, sshd

# A shell that starts the tests in its background has Ctrl-C ignored, and so would every command under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A real sshd on loopback."""
    with sshd(tmp_path_factory.mktemp("sshd")) as board:
        yield board


@pytest.fixture(scope="session")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """A real adbd, and the adb server that knows it."""
    with adbd(tmp_path_factory.mktemp("adbd")) as phone:
        yield phone

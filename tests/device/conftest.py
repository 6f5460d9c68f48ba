"""Emulated devices, started once for all tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from boards import Board

from device.emulated_pi import emulated_pi


@pytest.fixture(scope="session")
def pi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """An emulated Raspberry Pi 4 behind a real sshd."""
    with emulated_pi(tmp_path_factory.mktemp("pi")) as board:
        yield board

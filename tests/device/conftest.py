"""Emulated devices, started once for all tests that ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from boards import Board, Phone

from device.emulated_phone import emulated_phone
from device.emulated_pi import emulated_pi
from edgeprune.core.board import find_board
from edgeprune.core.errors import EdgepruneError
from edgeprune.plugins.transports.emulated.machine import running


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where this machine cannot emulate a board in namespaces, and says why."""
    try:
        with running(find_board("rpi4")):
            pass
    except EdgepruneError as error:
        pytest.skip(f"{error.message}; {error.hint}")


@pytest.fixture(scope="session")
def pi(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """An emulated Raspberry Pi 4 behind a real sshd."""
    with emulated_pi(tmp_path_factory.mktemp("pi")) as board:
        yield board


@pytest.fixture(scope="session")
def emulated_phone_at_adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """An emulated phone behind an aarch64 adbd."""
    with emulated_phone(tmp_path_factory.mktemp("phone")) as phone:
        yield phone

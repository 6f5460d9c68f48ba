"""An emulated board is a device: it keeps the contract of cables, alone and behind a real sshd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from boards import Board
from packages import capsule

from edgeprune.core.address import transport_at
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.protocols import Link
from edgeprune.testing import check_transport

pytestmark = pytest.mark.emulated
TELLS = """import os, platform
from tflite_runtime.interpreter import Interpreter
print(platform.machine(), os.environ["EDGEPRUNE_CAPSULE"])"""


def said(link: Link, *command: str, seconds: float = 60) -> str:
    return link.shell.run(command, timeout=seconds).require("a test's command").text().strip()


def test_a_board_in_namespaces_keeps_the_contract(tmp_path: Path) -> None:
    try:
        check_transport(transport_at("emulated:rpi4"), tmp_path)
    except EdgepruneError as error:
        pytest.skip(f"{error.message}; {error.hint}")


def test_a_board_behind_an_sshd_keeps_the_contract(pi: Board, tmp_path: Path) -> None:
    check_transport(transport_at(pi.address), tmp_path)


def test_a_board_says_that_it_is_a_raspberry_pi(pi: Board) -> None:
    with transport_at(pi.address).connect() as link:
        assert said(link, "uname", "-nm") == "raspberrypi aarch64"
        assert said(link, "id", "-un") == "pi"
        assert said(link, "cat", "/sys/firmware/devicetree/base/model").startswith("Raspberry Pi 4 Model B")
        assert said(link, "grep", "-c", "0xd08", "/proc/cpuinfo") == "4"


def test_what_is_written_stays_while_the_board_runs(pi: Board) -> None:
    with transport_at(pi.address).connect() as link:
        said(link, "sh", "-c", "mkdir -p /opt/models && echo one > /opt/models/live")
    with transport_at(pi.address).connect() as link:
        assert said(link, "cat", "/opt/models/live") == "one"


def test_a_disk_is_kept_where_a_folder_is_given(tmp_path: Path) -> None:
    address = f"emulated:rpi5?disk={tmp_path / 'disk'}"
    try:
        with transport_at(address).connect() as link:
            said(link, "sh", "-c", "echo kept > /opt/file")
    except EdgepruneError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    assert (tmp_path / "disk/upper/opt/file").read_text() == "kept\n"
    with transport_at(address).connect() as link:
        assert said(link, "cat", "/opt/file") == "kept"


def test_a_capsule_runs_on_a_board(tmp_path: Path) -> None:
    shutil.copytree(capsule("tflite-runtime", "aarch64"), tmp_path / "disk/upper/opt/a capsule")
    try:
        with transport_at(f"emulated:rpi4?disk={tmp_path / 'disk'}").connect() as link:
            assert said(link, "sh", "/opt/a capsule/py", "-c", TELLS) == "aarch64 /opt/a capsule"
    except EdgepruneError as error:
        pytest.skip(f"{error.message}; {error.hint}")

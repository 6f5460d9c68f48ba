"""An emulated board is a device: it keeps the contract of cables, alone and behind a real sshd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from boards import Board, Phone
from packages import capsule

from edgeprune.core.address import transport_at
from edgeprune.core.protocols import Link
from edgeprune.testing import check_transport

pytestmark = pytest.mark.emulated
TELLS = """import os, platform
from tflite_runtime.interpreter import Interpreter
print(platform.machine(), os.environ["EDGEPRUNE_CAPSULE"])"""


def said(link: Link, *command: str, seconds: float = 60) -> str:
    return link.shell.run(command, timeout=seconds).require("a test's command").text().strip()


def test_a_board_in_namespaces_keeps_the_contract(namespaces: None, tmp_path: Path) -> None:
    check_transport(transport_at("emulated:rpi4"), tmp_path)


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


def test_a_disk_is_kept_where_a_folder_is_given(namespaces: None, tmp_path: Path) -> None:
    address = f"emulated:rpi5?disk={tmp_path / 'disk'}"
    with transport_at(address).connect() as link:
        said(link, "sh", "-c", "echo kept > /opt/file")
    assert (tmp_path / "disk/upper/opt/file").read_text() == "kept\n"
    with transport_at(address).connect() as link:
        assert said(link, "cat", "/opt/file") == "kept"


def test_a_capsule_runs_on_a_board(namespaces: None, tmp_path: Path) -> None:
    shutil.copytree(capsule("tflite-runtime", "aarch64"), tmp_path / "disk/upper/opt/a capsule")
    with transport_at(f"emulated:rpi4?disk={tmp_path / 'disk'}").connect() as link:
        assert said(link, "sh", "/opt/a capsule/py", "-c", TELLS) == "aarch64 /opt/a capsule"


def test_a_phone_behind_an_adbd_keeps_the_contract(emulated_phone_at_adb: Phone, tmp_path: Path) -> None:
    check_transport(transport_at(emulated_phone_at_adb.address), tmp_path)


def test_a_capsule_runs_on_a_phone_without_libraries(emulated_phone_at_adb: Phone) -> None:
    folder = capsule("tflite-runtime", "aarch64")
    with transport_at(emulated_phone_at_adb.address).connect() as link:
        assert (
            said(link, "sh", "-c", "ls -d /lib /usr 2> /dev/null; getprop ro.product.cpu.abi") == "arm64-v8a"
        )
        place = link.scratch / "capsule"
        link.files.push(folder, place)
        assert said(link, "sh", str(place / "py"), "-c", TELLS) == f"aarch64 {place}"

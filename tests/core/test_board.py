"""A board's files below /proc and /sys say what runtimes choose their kernels by."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.board import BOARDS, find_board, write_board
from edgeprune.core.errors import RequestError

LAST_OF_RPI4 = """
processor\t: 3
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


def test_a_board_is_told_by_its_cpuinfo(tmp_path: Path) -> None:
    write_board(find_board("rpi4"), tmp_path)
    assert (tmp_path / "proc/cpuinfo").read_text().endswith(LAST_OF_RPI4)
    assert (tmp_path / "sys/devices/system/cpu/possible").read_text() == "0-3\n"
    assert (tmp_path / "sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq").read_text() == "1800000\n"


def test_a_phone_has_two_kinds_of_cores(tmp_path: Path) -> None:
    write_board(find_board("phone"), tmp_path)
    parts = [line for line in (tmp_path / "proc/cpuinfo").read_text().splitlines() if "CPU part" in line]
    assert parts == ["CPU part\t: 0xd05"] * 4 + ["CPU part\t: 0xd0b"] * 4
    topology = tmp_path / "sys/devices/system/cpu/cpu5/topology"
    assert (topology / "core_siblings_list").read_text() == "4-7\n"


def test_only_newer_cores_have_dot_products() -> None:
    assert {name for name, board in BOARDS.items() if "asimddp" in board.features.split()} == {
        "rpi5",
        "phone",
    }


def test_an_unknown_board_is_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        find_board("rpi9")
    assert caught.value.message == "no emulated board 'rpi9'"
    assert caught.value.hint == "did you mean 'rpi5'? known: phone, rpi-zero-2w, rpi3, rpi4, rpi5"

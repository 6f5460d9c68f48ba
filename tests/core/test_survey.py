"""What a device says of itself is read from one command's answer, whatever is missing in it."""

from __future__ import annotations

import platform
import sys

from edgeprune.core.address import transport_at
from edgeprune.core.link import linked
from edgeprune.core.survey import Survey, survey
from edgeprune.core.target import find_target
from edgeprune.testing import FakeShell

BOARD = """\
name\traspberrypi
machine\taarch64
kernel\t6.6.31+rpt-rpi-v8
system\tLinux
model\tRaspberry Pi 4 Model B Rev 1.4
cpu\t
libc\tglibc 2.36
cores\t4
max_khz\t1800000
max_khz\t1800000
governor\tondemand
now_khz\t600000
zone\tcpu-thermal=48686
zone\tother=90000
throttled\tthrottled=0x50005
load\t0.08
memory_kb\t3884380
free_kb\t20000000
user\t1000
python\t/usr/bin/python3\t3.11.2\tnumpy=1.24.2\ttflite-runtime=2.14.0
python\t/usr/bin/python3\t3.11.2\tnumpy=1.24.2\ttflite-runtime=2.14.0
"""


def asked(text: str) -> Survey:
    with linked(FakeShell(text)) as link:
        return survey(link, "pi@board")


def test_a_board_is_described() -> None:
    found = asked(BOARD)
    assert (found.name, found.machine, found.cores) == ("raspberrypi", "aarch64", 4)
    assert found.core_clocks_mhz == (1800.0, 1800.0)
    assert (found.clock_mhz, found.temperature_c, found.throttled_bits) == (600.0, 48.686, 0x50005)
    assert (found.memory_bytes, found.free_bytes) == (3884380 * 1024, 20000000 * 1024)
    assert not found.superuser
    (python,) = found.pythons
    assert (python.runtime_for("tflite"), python.runtime_for("onnx")) == ("tflite-runtime", None)
    assert found.title == "raspberrypi (Raspberry Pi 4 Model B Rev 1.4)"
    assert found.fits(find_target("rpi4"))
    assert not found.fits(find_target("x86-64"))


def test_a_device_that_says_little_is_described_by_that() -> None:
    found = asked("noise\nmachine\tarmv7l\nlibc\t\ncores\tmany\n")
    assert (found.name, found.machine, found.libc, found.cores) == ("pi@board", "armv7l", "", 1)
    assert (found.clock_mhz, found.temperature_c, found.throttled_bits, found.free_bytes) == (None,) * 4
    assert found.pythons == ()


def test_this_machine_is_described_as_python_sees_it() -> None:
    with transport_at("local").connect() as link:
        found = survey(link, "local", python=sys.executable)
    assert (found.name, found.system, found.machine) == (
        *(platform.node(), platform.system(), platform.machine()),
    )
    assert found.kernel == platform.release()
    assert found.pythons[0].path == sys.executable
    assert found.pythons[0].version == platform.python_version()
    assert found.pythons[0].runtime_for("onnx") == "onnxruntime"

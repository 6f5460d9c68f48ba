"""From a trained network to a device and back, by the command itself, over every cable."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import ROOT, Answer, run
from packages import capsule

from edgeprune.core.address import transport_at
from edgeprune.core.protocols import Link

pytestmark = pytest.mark.emulated
DIGITS = ROOT / "models" / "digits" / "digits.pt"
# As a program on the device does it: with the loader that lies beside the live version.
ANSWERS = """import sys
folder = sys.argv[1]
sys.path.insert(0, folder + "/current")
import numpy as np
from edgeprune_device import load
model = load(folder)
golden = folder + "/current/golden/"
outputs = np.load(golden + "outputs.npy")
off = abs(model(np.load(golden + "inputs.npy")) - outputs).max() / abs(outputs).max()
print(model.version, "answers" if off <= model.manifest["golden"]["tolerance"] else off)"""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a network goes, what it is compressed for, and the capsule where Python is missing there."""

    address: str
    target: str
    folder: str
    format: str
    desk: Path
    capsule: Path | None

    @property
    def to(self) -> str:
        head, mark, query = self.address.partition("?")
        return f"{head}:{self.folder}{mark}{query}"

    @property
    def shown(self) -> str:
        return f"{self.address.partition('?')[0]}:{self.folder}"

    @property
    def carried(self) -> tuple[str | Path, ...]:
        return () if self.capsule is None else ("--capsule", self.capsule)

    def ask(self, *arguments: str | Path) -> Answer:
        """A command of this user, whose keys lie apart from those of other tests."""
        return run(*arguments, cwd=self.desk, XDG_CONFIG_HOME=str(self.desk / "settings"))

    def do(self, *arguments: str | Path) -> str:
        """The same, and it must succeed."""
        answer = self.ask(*arguments)
        assert answer.code == 0, answer.err
        return answer.text

    def bundled(self, out: str, precision: str) -> str:
        """The version's name, as it is printed."""
        made = self.do("bundle", "run", "-o", out, "--precision", precision, *self.carried)
        brings = "needs Python with " if self.capsule is None else "with its own Python and runtime"
        assert f" files, signed; {brings}" in made
        return made.removeprefix(f"{out}: version ").partition(",")[0]

    def answers(self) -> str:
        """What the live version answers to a program there."""
        python = [sys.executable]
        if self.capsule is not None:
            python = ["sh", f"{self.folder}/current/capsule/py"]
        with transport_at(self.address).connect() as link:
            return _said(link, *python, "-c", ANSWERS, self.folder)


def _said(link: Link, *command: str) -> str:
    return link.shell.run(command, timeout=120).require("the loader").text().strip()


@pytest.fixture(params=["local", "pi", "phone"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    """This machine, an emulated Raspberry Pi behind a real sshd, an emulated phone behind a real adbd."""
    if request.param == "local":
        if platform.machine() != "x86_64":
            pytest.skip("what is compressed for x86-64 is not run on this machine")
        yield Device("local", "x86-64", f"{tmp_path}/vision", "onnx", tmp_path, None)
    elif request.param == "pi":
        address = request.getfixturevalue("pi").address
        carried = capsule("tflite-runtime", "aarch64")
        yield Device(address, "rpi4", "/opt/models/vision", "tflite", tmp_path, carried)
    else:
        address = request.getfixturevalue("emulated_phone_at_adb").address
        carried = capsule("tflite-runtime", "aarch64")
        yield Device(address, "android-arm64", "/data/local/tmp/vision", "tflite", tmp_path, carried)


def test_a_network_is_compressed_measured_shipped_and_brought_back(device: Device) -> None:
    command = ("compress", DIGITS, "--target", device.target, "--format", device.format)
    said = device.do(*command, "--precision", "int8-static", "--out", "run")
    assert f"digits for {device.target}: 3.83 M -> 1.91 M MACs (2.00x fewer)" in said

    small = f"run/model.int8-static.{device.format}"
    command = ("profile", small, "--target", device.target, "--at", device.address, "--threads", "1")
    measured = device.ask(*command, *device.carried, "--json", "--quiet")
    # Whether this machine is too busy for a steady latency is not what is tested.
    assert measured.code == 0 or measured.err.startswith(f"INVALID {small}: "), measured.err
    (file,) = json.loads(measured.out)["files"]
    assert file["run"]["deviation"] <= 0.05

    device.do("keys", "new", "--quiet")
    first, second = device.bundled("first.edge", "fp32"), device.bundled("second.edge", "int8-static")
    shipped = device.do("ship", "first.edge", "--to", device.to)
    assert shipped.startswith(f"{device.shown}: version {first} is live, answers as it should in ")

    shipped = device.do("ship", "second.edge", "--to", device.to)
    assert shipped.startswith(
        f"{device.shown}: version {second} is live, before {first}, answers as it should in "
    )
    status = device.do("status", "--to", device.to)
    assert f" {second}  live  digits  model.int8-static.{device.format}" in status
    assert f" {first}        digits  model.{device.format}" in status
    assert device.answers() == f"{second} answers"

    back = device.do("rollback", "--to", device.to)
    assert back.startswith(
        f"{device.shown}: version {first} is live, before {second}, answers as it should in "
    )
    assert "\nnothing to send, " in back
    status = device.do("status", "--to", device.to, "--check")
    assert f" {first}  live  digits  model.{device.format}" in status
    assert f"{device.shown}: version {first} is intact, answers as it should in " in status
    assert device.answers() == f"{first} answers"

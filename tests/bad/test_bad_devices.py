"""Devices that are not there, not reachable, or not what they should be: one line and the next step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import Here
from tiny import tiny_floats, tiny_folder

FORMS = "local, pi@host, pi@host:2222, ssh:NAME of ~/.ssh/config, adb:SERIAL"
PORT = 1  # tcpmux, which nobody serves
REFUSED = {
    "--at board": (2, "'board' is no address of a device", f"write {FORMS}"),
    "--at 10.0.0.9": (2, "'10.0.0.9' is no address of a device", "say who logs in there: pi@10.0.0.9"),
    "--at local --capsule nowhere": (
        2,
        "nowhere: not a capsule (it has no file py)",
        "a capsule is a folder with Python and the runtimes, started by `sh py`",
    ),
    "--at replay:nothing.json": (
        2,
        "nothing.json: no such file",
        "correct the file; `edgeprune schema` prints what each kind of document may hold",
    ),
    f"--at adb:0123?port={PORT}": (
        3,
        f"no adb server answers at 127.0.0.1:{PORT}",
        "start it: `adb start-server` (Debian: apt-get install adb)",
    ),
    "--at pi@host?kee=a": (2, "transport 'ssh': unknown option 'kee'", "did you mean 'key'?"),
    "--at ssh:-oProxyCommand=id": (
        2,
        "'-oProxyCommand=id' is no address of a host",
        "write pi@192.168.1.20 or pi@host:2222",
    ),
}


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(capfd, monkeypatch)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(tiny_folder() / tiny_floats()[0].path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("options", REFUSED)
def test_a_device_that_is_none(here: Here, options: str) -> None:
    answer = here("profile", "model.onnx", "--quiet", *options.split())
    assert (answer.code, *answer.refusal) == REFUSED[options]


def test_a_board_that_does_not_answer(here: Here) -> None:
    answer = here("profile", "model.onnx", "--quiet", "--at", f"pi@127.0.0.1:{PORT}")
    message, hint = answer.refusal
    assert answer.code == 3
    assert message.startswith(f"pi@127.0.0.1: cannot be reached at port {PORT} (")
    assert hint == (
        f"is it on, in this network, and sshd running there? try `ssh -p {PORT} pi@127.0.0.1 true`"
    )

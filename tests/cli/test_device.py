"""`edgeprune device doctor` and `edgeprune profile --at`, against a real sshd and a real adbd."""

from __future__ import annotations

import json
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boards import Board, Phone, free_port
from command import ENVIRONMENT, EXECUTABLE, Here
from core.device_documents import SURVEY
from tiny import tiny_floats, tiny_folder

from edgeprune.core.survey import Python, Survey
from edgeprune.core.target import find_target
from edgeprune.stages.diagnose import _obstacles


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for one in tiny_floats():
        shutil.copy(tiny_folder() / one.path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_board_is_looked_at(here: Here, board: Board) -> None:
    answer = here("device", "doctor", board.address, "--python", sys.executable)
    assert (answer.code, answer.err) == (0, "")
    lines = [line.strip() for line in answer.text.splitlines()]
    assert lines[0].startswith(f"{board.host}: {platform.node()} (")
    assert f"{platform.system()} {platform.release()}, {platform.machine()}" in lines[1]
    assert any(
        line.startswith(f"python {platform.python_version()}  {sys.executable} with numpy ") for line in lines
    )
    assert lines[-1] == f"ready: edgeprune profile FILE... --at {board.host}"


def test_the_document_of_a_look_says_whether_it_is_the_target(here: Here, phone: Phone) -> None:
    answer = here("device", "doctor", phone.address, "--target", "rpi4", "--json")
    document = json.loads(answer.out)
    assert (document["kind"], document["target"], document["fits"]) == ("diagnosis/1", "rpi4", False)
    assert document["survey"]["machine"] == platform.machine()
    assert any(one["matter"].startswith("it is not recognised as rpi4: ") for one in document["obstacles"])


def test_a_device_that_cannot_be_reached_gives_exit_code_3(here: Here) -> None:
    port = free_port()
    answer = here("device", "doctor", f"pi@127.0.0.1:{port}")
    assert answer.code == 3
    assert answer.refusal[0].startswith(f"pi@127.0.0.1: cannot be reached at port {port} (")


def test_files_are_measured_on_a_board_and_nothing_stays_there(here: Here, board: Board, files: Path) -> None:
    before = set(Path("/var/tmp").glob("edgeprune-*"))
    answer = here(
        *("profile", "model.onnx", "model.tflite", "--at", board.address, "--python", sys.executable),
        *("--threads", "1", "--json", "--quiet", "--transcript", "said.json"),
    )
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["at"] == board.host
    assert document["conditions"]["interpreter"].startswith(f"the device's own {sys.executable} ")
    assert document["survey"]["machine"] == platform.machine()
    for file in document["files"]:
        assert len(file["latency"]["timing"]["samples_ns"]) == 300
        assert file["run"]["deviation"] < 1e-6
    assert set(Path("/var/tmp").glob("edgeprune-*")) == before
    said = (files / "said.json").read_text()
    assert "PRIVATE KEY" not in said
    again = here(
        *("profile", "model.onnx", "model.tflite", "--at", "replay:said.json", "--python", sys.executable),
        *("--threads", "1", "--json", "--quiet"),
    )
    assert json.loads(again.out)["files"] == document["files"]


def test_files_are_measured_on_a_phone(here: Here, phone: Phone, files: Path) -> None:
    answer = here(
        *("profile", "model.tflite", "--at", phone.address, "--python", sys.executable),
        *("--target", "android-arm64", "--threads", "1", "--threads", "2"),
    )
    assert answer.code == 0, answer.err
    assert re.search(r"model\.tflite on 2 threads: p50 \d", answer.text)
    assert answer.text.endswith("; this is not a android-arm64\n")


def test_a_capsule_is_carried_along_and_started_by_its_own_script(
    here: Here, board: Board, files: Path
) -> None:
    (files / "capsule").mkdir()
    (files / "capsule" / "py").write_text(f'exec {sys.executable} "$@"\n')
    answer = here(
        *("profile", "model.onnx", "--at", board.address, "--capsule", "capsule", "--json", "--quiet"),
        *("--threads", "1"),
    )
    assert answer.code == 0, answer.err
    conditions = json.loads(answer.out)["conditions"]
    assert conditions["interpreter"] == "capsule capsule, nothing of the device's own"


def test_a_folder_that_is_no_capsule_is_refused(here: Here, files: Path) -> None:
    answer = here("profile", "model.onnx", "--at", "local", "--capsule", ".", "--quiet")
    assert (answer.code, answer.refusal) == (
        2,
        (
            ".: not a capsule (it has no file py)",
            "a capsule is a folder with Python and the runtimes, started by `sh py`",
        ),
    )


def test_a_dry_run_prints_every_command_and_runs_none(here: Here, files: Path) -> None:
    answer = here("profile", "model.onnx", "--at", "pi@nowhere", "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert "pi@nowhere$ python3 /scratch/job/runner.py /scratch/job/job.json  # at most " in answer.out
    assert answer.out.endswith("pi@nowhere$ rm -rf -- /scratch  # at most 30 s\n")


def test_a_device_without_a_runtime_says_both_ways_out(here: Here, files: Path, board: Board) -> None:
    bare = files / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    found = here("device", "doctor", board.address, "--python", str(bare), "--json")
    pythons = json.loads(found.out)["survey"]["pythons"]
    if any("onnxruntime" in one["packages"] for one in pythons):
        pytest.skip("this machine's own python3 has onnxruntime")
    answer = here("profile", "model.onnx", "--at", board.address, "--python", str(bare), "--quiet")
    assert answer.code == 3
    message, hint = answer.refusal
    assert message.startswith(f"{board.host}: no Python there has numpy and onnxruntime ({bare} 3.")
    assert hint == (
        "there: `python3 -m venv edge && edge/bin/pip install numpy onnxruntime`, then "
        "`--python edge/bin/python`; or carry all of it along and install nothing: `--capsule FOLDER`"
    )


@pytest.mark.parametrize("which", ["board", "phone", "local"])
def test_ctrl_c_ends_what_runs_there_and_leaves_nothing(
    which: str, files: Path, request: pytest.FixtureRequest
) -> None:
    address = "local" if which == "local" else request.getfixturevalue(which).address
    slow = files / "slow"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\n'
        f'echo "$1" > {files}/folder; echo $$ > {files}/process; sleep 60; true\n'
    )
    slow.chmod(0o755)
    arguments = ["profile", "model.onnx", "--at", address, "--python", str(slow), "--quiet"]
    process = subprocess.Popen([EXECUTABLE, *arguments], env=ENVIRONMENT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (files / "process").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed.decode().splitlines()[0]) == (130, "error: interrupted")
    assert not Path((files / "folder").read_text().strip()).parent.exists()
    if which != "phone":  # whose process numbers are its own
        number = int((files / "process").read_text())
        assert not Path(f"/proc/{number}").exists() or not Path(f"/proc/{number}/cmdline").read_bytes()


# Obstacles


def matters(survey: Survey, target: str | None = "rpi4") -> list[str]:
    return [one.matter for one in _obstacles(survey, find_target(target) if target else None)]


READY = SURVEY.model_copy(
    update={
        "governor": "performance",
        "pythons": (
            Python(
                path="python3",
                version="3.11",
                packages={"numpy": "2", "onnxruntime": "1", "tflite-runtime": "2"},
            ),
        ),
    }
)


@pytest.mark.parametrize(
    ("change", "matter"),
    [
        ({}, []),
        ({"pythons": ()}, ["no Python there runs .onnx and .tflite files"]),
        ({"free_bytes": 10_000_000}, ["10.0 MB are free; a capsule takes up to twice 130 MB"]),
        ({"throttled_bits": 0x50005}, ["it is slowed down now: under-voltage, throttled"]),
        ({"temperature_c": 81.4}, ["it is 81 degrees hot"]),
        (
            {"governor": "ondemand"},
            ["its clock follows the load (governor ondemand) and only root may fix it"],
        ),
        ({"governor": "ondemand", "superuser": True}, []),
        ({"load_average": 3.0}, ["it is busy: 3 processes on 4 cores"]),
        (
            {"model": "Raspberry Pi 3"},
            ["it is not recognised as rpi4: Linux aarch64, Raspberry Pi 3"],
        ),
    ],
)
def test_what_stands_in_the_way_is_named_with_what_to_do(
    change: dict[str, object], matter: list[str]
) -> None:
    assert matters(READY.model_copy(update=change)) == matter


def test_only_a_device_that_runs_none_of_the_formats_is_blocked() -> None:
    some = Python(path="python3", version="3.11", packages={"numpy": "2", "onnxruntime": "1"})
    for pythons, blocks in (((), True), ((some,), False)):
        (one,) = _obstacles(READY.model_copy(update={"pythons": pythons}), None)
        assert one.blocks is blocks

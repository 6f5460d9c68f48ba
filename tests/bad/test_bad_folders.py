"""The museum of bad run folders: taken, full, not writable, abandoned; no file in one is ever half."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest
from command import ENVIRONMENT, EXECUTABLE
from core.namespaces import run_mounted

from bad.conftest import Compress

ELSEWHERE = "choose another folder with --out"
# The command runs twice where the disk is: once while it is full, once after room was made.
FULL = """\
import json, subprocess, sys
from hashlib import sha256
from pathlib import Path

folder = Path(sys.argv[1])


def run():
    done = subprocess.run({command}, capture_output=True, text=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    hashes = {{str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}}
    scratch = [str(path) for path in folder.rglob(".writing-*")]
    return {{"code": done.returncode, "err": done.stderr, "files": hashes, "scratch": scratch}}


first = run()
subprocess.run(["mount", "-o", "remount,size=10m", folder], check=True)
print(json.dumps([first, run()]))
"""
READ_ONLY = """\
import subprocess
done = subprocess.run({command}, capture_output=True, text=True)
assert done.returncode == 2
print(done.stderr, end="")
"""


def the_command(out: str) -> list[str]:
    line = "compress m.pt --arch model.py:net --target x86-64 --data npz:d.npz --format onnx --out"
    return [str(EXECUTABLE), *line.split(), out]


def broken(folder: Path) -> list[str]:
    """Files that are not as the journal has them; the journal itself and the report need not be in it."""
    journal = json.loads((folder / ".edgeprune" / "journal.json").read_text())
    listed = {name: digest for stage in journal["stages"].values() for name, digest in stage["files"].items()}
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    wrong = {
        name for name, path in found.items() if listed.get(name) != sha256(path.read_bytes()).hexdigest()
    }
    return sorted(wrong - {".edgeprune/journal.json", "report.json"})


def test_a_folder_that_holds_a_finished_run_of_another_request(compress: Compress, desk: Path) -> None:
    once = ["--input", "1x6x6", "--format", "onnx", "--out", "run"]
    assert compress(*once).code == 0
    before = {path: path.read_bytes() for path in (desk / "run").rglob("*") if path.is_file()}
    answer = compress(*once, "--seed", "1", "--speedup", "1.5")
    assert (answer.code, answer.refusal) == (
        2,
        ("run holds another run (different: budget, seed)", f"{ELSEWHERE}, or delete this one"),
    )
    assert {path: path.read_bytes() for path in (desk / "run").rglob("*") if path.is_file()} == before


def test_a_folder_that_is_a_file(compress: Compress, desk: Path) -> None:
    answer = compress("--input", "1x6x6", "--out", "model.py")
    assert (answer.code, answer.refusal) == (2, ("model.py: cannot be written (not a directory)", ELSEWHERE))


def test_a_folder_where_the_model_would_be_overwritten(compress: Compress, desk: Path) -> None:
    (desk / "m.pt").rename(desk / "model.pt2")
    (desk / "m.pt").symlink_to("model.pt2")
    before = (desk / "model.pt2").read_bytes()
    answer = compress("--input", "1x6x6", "--out", ".")
    assert (answer.code, answer.refusal) == (2, ("m.pt would be overwritten", ELSEWHERE))
    assert (desk / "model.pt2").read_bytes() == before


def test_a_folder_that_may_not_be_written(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("read-only")
    printed = run_mounted(folder, "ro", READ_ONLY.format(command=the_command(str(folder / "run"))))
    assert printed == f"error: {folder}/run: cannot be written (read-only file system)\nhint: {ELSEWHERE}\n"


def test_a_full_disk_and_the_same_command_continues(
    desk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full")
    full, again = json.loads(run_mounted(folder, "size=60k", FULL.format(command=the_command(str(folder)))))
    assert full["code"] == 2
    assert full["err"].splitlines()[-2:] == [
        f"error: {folder}/.edgeprune/refitted.pt2: the disk is full",
        f"hint: free some space or {ELSEWHERE}; finished stages are kept",
    ]
    assert full["scratch"] == []
    assert (again["code"], again["scratch"]) == (0, [])
    assert again["err"].startswith("compensate  ")
    changed = {name for name, digest in full["files"].items() if again["files"][name] != digest}
    assert changed == {".edgeprune/journal.json"}, "what was there was whole, and was not made again"


def test_ctrl_c_and_the_same_command_continues(desk: Path) -> None:
    folder = desk / "run"
    command = the_command("run")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wait_for_stage("save", folder / ".edgeprune" / "journal.json", process)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.splitlines()[-2:] == [
        "error: interrupted",
        "hint: the same command goes on after the last finished stage",
    ]
    assert "Traceback" not in printed
    assert not list(folder.rglob(".writing-*"))
    assert broken(folder) == []
    kept = (folder / "model.pt2").stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
    assert done.returncode == 0
    assert [line.split("  ")[0] for line in done.stderr.splitlines()][:1] == ["export the original"]
    assert (folder / "model.pt2").stat().st_mtime_ns == kept
    assert broken(folder) == []


def wait_for_stage(name: str, journal: Path, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        if journal.exists() and f'"{name}"' in journal.read_text():
            return
        time.sleep(0.02)

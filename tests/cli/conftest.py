"""The main job on the embedded example, run once for every test that looks at its output."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, Answer, Here, run

NORMED = """\
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 32)
        self.down = nn.Linear(32, width)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(16, 12)
        self.blocks = nn.Sequential(Block(12), Block(12))
        self.widen = nn.Linear(12, 20)
        self.last = nn.LayerNorm(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x):
        return self.head(self.last(self.widen(self.blocks(self.embed(x)))).mean(1))
"""
DIGITS = ROOT / "models" / "digits" / "digits.pt"


@dataclass(frozen=True, slots=True)
class Finished:
    """The run folder and what the command printed."""

    folder: Path
    answer: Answer

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return document


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(capfd, monkeypatch)


@pytest.fixture
def normed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What names a network of two layer-normed streams, without weights."""
    (tmp_path / "normed.py").write_text(NORMED)
    monkeypatch.chdir(tmp_path)
    return ["--arch", "normed.py:Net", "--input", "6x16"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Finished:
    """The main job with `--json` on the embedded example, run by the worker that asks first."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "digits"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "code").exists():
            answer = run("compress", DIGITS, "--target", "x86-64", "--json", "--out", shared / "run")
            (shared / "out").write_text(answer.out)
            (shared / "err").write_text(answer.err)
            (shared / "code").write_text(str(answer.code))
    code, out, err = ((shared / name).read_text() for name in ("code", "out", "err"))
    return Finished(shared / "run", Answer(int(code), out, err))

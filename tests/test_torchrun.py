"""Several processes do what one does: the same statistics and plan, one set of files, one voice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.conftest import DIGITS
from command import ENVIRONMENT, ROOT

from edgeprune.core.screening import Screening

OPTIONS = "--target rpi4 --format onnx --criterion refit --epochs 2 --augment shift --json".split()
TORCHRUN = (
    "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint localhost:0".split()
)


def compress(*launcher: str, out: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *launcher, "-m", "edgeprune", "compress", DIGITS, "--out", out, *options],
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = compress(out=folder, options=OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Two processes' run folder, and what they wrote to the standard streams."""
    folder = tmp_path_factory.mktemp("together") / "run"
    done = compress(*TORCHRUN, out=folder, options=OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def document(folder: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / name).read_text())
    return read


def test_two_processes_find_the_same_statistics(alone: Path, printed: tuple[Path, str, str]) -> None:
    one, two = (Screening.load(folder / "screening.json") for folder in (alone, printed[0]))
    assert one.groups.keys() == two.groups.keys()
    for name, group in one.groups.items():
        for field in ("scores", "harm", "f_statistic", "p_value"):
            expected, found = getattr(group, field), getattr(two.groups[name], field)
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-12), (name, field)


def test_two_processes_make_the_same_plan(alone: Path, printed: tuple[Path, str, str]) -> None:
    assert document(printed[0], "plan.json")["cuts"] == document(alone, "plan.json")["cuts"]


def test_one_of_two_processes_writes_and_talks(printed: tuple[Path, str, str]) -> None:
    folder, out, err = printed
    assert out == (folder / "report.json").read_text()
    assert [line[:32].rstrip() for line in err.splitlines()].count("finetune") == 1
    assert not [path for path in folder.rglob("*") if path.name.startswith(".writing-")]


def test_two_processes_train_on_all_images_together(alone: Path, printed: tuple[Path, str, str]) -> None:
    one, two = (document(folder, "report.json")["finetuning"] for folder in (alone, printed[0]))
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    losses, others = one.pop("losses"), two.pop("losses")
    assert {name: one[name] for name in ("images", "batch", "augment")} == {
        name: two[name] for name in ("images", "batch", "augment")
    }
    assert losses["start"] == pytest.approx(others["start"], rel=0.05)
    assert losses["last"] == pytest.approx(others["last"], rel=0.2)


def test_a_finished_run_is_read_back_by_both(printed: tuple[Path, str, str]) -> None:
    folder, out, _ = printed
    before = (folder / "model.onnx").stat().st_mtime_ns
    again = compress(*TORCHRUN, out=folder, options=OPTIONS)
    assert again.returncode == 0, again.stderr
    assert (folder / "model.onnx").stat().st_mtime_ns == before
    assert json.loads(again.stdout)["finetuning"] == json.loads(out)["finetuning"]


def test_a_wrong_request_is_said_once(tmp_path: Path) -> None:
    done = compress(*TORCHRUN, out=tmp_path / "run", options=["--target", "rpi4", "--criterion", "refti"])
    assert done.returncode != 0
    assert done.stderr.count("error: unknown criterion 'refti'") == 1
    assert 'Traceback (most recent call last):\n  File "' + str(ROOT / "edgeprune") not in done.stderr
    assert not (tmp_path / "run").exists()

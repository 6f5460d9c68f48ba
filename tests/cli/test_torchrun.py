"""Several processes do what one does: the same statistics and plan, one set of files, one voice."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import ENVIRONMENT, ROOT, Here

from cli.conftest import DIGITS, Finished
from edgeprune.core.plan import Plan
from edgeprune.core.screening import Screening

TORCHRUN = (
    "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint localhost:0".split()
)
COMPRESS = ("compress", DIGITS, "--target", "x86-64")

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the run is for this machine: x86-64")


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Two processes of `edgeprune`."""
    return subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "edgeprune", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes' run folder; what they printed lies beside it."""
    run = tmp_path_factory.mktemp("together") / "run"
    options = ("--format", "onnx", "--epochs", "1", "--augment", "shift", "--json", "--out", run)
    done = torchrun(*COMPRESS, *options)
    assert done.returncode == 0, done.stderr
    (run.parent / "out").write_text(done.stdout)
    (run.parent / "err").write_text(done.stderr)
    return run


def test_two_processes_find_the_same_statistics(finished: Finished, folder: Path) -> None:
    one, two = (Screening.load(place / "screening.json") for place in (finished.folder, folder))
    assert_same_statistics(one, two)


def assert_same_statistics(one: Screening, two: Screening) -> None:
    assert [*one.groups] == [*two.groups]
    for name, group in one.groups.items():
        other = two.groups[name]
        assert other.order == group.order
        assert [*other.measured] == [*group.measured] != []
        # Of whole residual branches nothing is said about classes.
        assert (other.f_statistic is None) == (group.f_statistic is None) == (name == "blocks")
        # Harm is measured on answers in float32, from refits of large moments: rounding (5e-7 where this was
        # written) shows against the curve's end.
        assert_close(other.harm, group.harm, 1e-5)
        assert_close([*other.measured.values()], [*group.measured.values()], 1e-5)
        assert_close(other.scores, group.scores, 1e-6)
        assert_close(other.f_statistic or (), group.f_statistic or (), 1e-6)
        assert_close(other.p_value or (), group.p_value or (), 1e-6)


def assert_close(found: Sequence[float], expected: Sequence[float], part: float) -> None:
    """Within a part of the largest that is expected."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * max(expected, default=0))


def test_two_processes_make_the_same_plan(finished: Finished, folder: Path) -> None:
    one, two = (Plan.load(place / "plan.json") for place in (finished.folder, folder))
    assert two.cuts == one.cuts


def test_one_of_two_processes_writes_and_talks(folder: Path) -> None:
    assert (folder.parent / "out").read_text() == (folder / "report.json").read_text()
    stages = [line[:32].rstrip() for line in (folder.parent / "err").read_text().splitlines()]
    assert [stages.count(name) for name in ("load", "screen", "finetune", "profile")] == [1, 1, 1, 1]
    assert not [*folder.rglob(".writing-*")]


def test_two_processes_train_on_all_images_together(folder: Path) -> None:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    done = report["finetuning"]
    assert (done["processes"], done["images"], done["augment"]) == (2, 1020, "shift")
    assert done["losses"]["last"] < 1


def test_a_wrong_request_is_said_once(tmp_path: Path) -> None:
    done = torchrun(*COMPRESS, "--criterion", "refti", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("error: unknown criterion 'refti'") == 1
    assert not (tmp_path / "run").exists()


def test_two_processes_screen_together_and_one_of_them_tells(here: Here, tmp_path: Path) -> None:
    written = tmp_path / "screening.json"
    screen = ("screen", DIGITS, "--images", "300", "--json")
    done = torchrun(*screen, "--out", written)
    assert (done.returncode, done.stderr) == (0, "")
    two = Screening.model_validate_json(done.stdout)
    assert Screening.load(written) == two
    one = Screening.model_validate_json(here(*screen).out)
    assert (two.images, two.classes, two.options) == (one.images, one.classes, one.options)
    assert_same_statistics(one, two)

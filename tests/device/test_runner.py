"""The runner is the same file everywhere: it measures what it is asked, and leaves the machine as it was."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_floats, tiny_folder, tiny_quantized

from edgeprune.core.address import transport_at
from edgeprune.core.device_run import DeviceRun, Job
from edgeprune.core.errors import DeviceError
from edgeprune.core.measure import RUNNER, Interpreter, Measured, measure
from edgeprune.core.registry import build
from edgeprune.device import runner

HERE = Interpreter("this one", sys.executable)
QUICK = Job(files=(), threads=(1,), rounds=3, runs=4, warmup=4, seconds_per_file=2.0)


def measured(path: Path, format: str, *, off: float = 0.0) -> Measured:
    name = {"onnx": "onnxruntime", "tflite": "litert"}[format]
    session = build("runtimes", name).open(path)
    inputs = np.ones([size or 1 for size in session.input_shape], np.float32)
    return Measured(path, format, inputs, session.infer(inputs) + np.float32(off))  # type: ignore[arg-type]


def run(files: list[Measured], job: Job = QUICK) -> DeviceRun:
    with transport_at("local").connect() as link:
        found = measure(link, files, job, HERE)
    assert found is not None
    return found


def files() -> list[Measured]:
    chosen = [
        *tiny_floats(),
        *(one for one in tiny_quantized() if one.precision == "int8-static"),
    ]
    return [measured(tiny_folder() / one.path, one.format) for one in chosen]


def test_every_file_is_verified_and_timed_in_turns_on_every_number_of_threads() -> None:
    found = run(files(), QUICK.model_copy(update={"threads": (1, 2), "memory": True, "operators": True}))
    assert [one.runtime for one in found.files] == ["onnxruntime", "litert", "onnxruntime", "litert"]
    for one in found.files:
        assert one.deviation is not None
        assert one.deviation < 1e-6
        assert [(len(timing.samples_ns), timing.threads) for timing in one.timings] == [(12, 1), (12, 2)]
        assert all(timing.warmup >= 4 for timing in one.timings)
        assert (one.load_ms or 0) > 0
        assert (one.first_ms or 0) > 0
        assert (one.peak_memory_bytes or 0) > (one.runtime_memory_bytes or 0) > 1 << 20
    assert "Conv" in {row.operator for row in found.files[0].operators}
    assert found.files[1].operators == ()
    assert found.python == ".".join(map(str, sys.version_info[:3]))


def test_another_answer_than_the_golden_one_is_measured_as_a_deviation() -> None:
    path = tiny_folder() / tiny_floats()[0].path
    (found,) = run([measured(path, "onnx", off=1.0)]).files
    assert (found.deviation or 0) > 0.1


def test_a_file_that_the_runtime_refuses_is_a_device_error(tmp_path: Path) -> None:
    good = measured(tiny_folder() / tiny_floats()[0].path, "onnx")
    (tmp_path / "cut.onnx").write_bytes(good.path.read_bytes()[:1000])
    broken = Measured(tmp_path / "cut.onnx", "onnx", good.inputs, good.outputs)
    with pytest.raises(DeviceError) as caught:
        run([good, broken])
    assert caught.value.message.startswith("cut.onnx: onnxruntime refuses it: ")


def test_a_runner_that_fails_says_so_with_its_last_lines() -> None:
    with pytest.raises(DeviceError) as caught, transport_at("local").connect() as link:
        measure(link, [], QUICK, Interpreter("nothing", "/no/python"))
    assert caught.value.message.startswith("the runner failed there: `/no/python ")
    assert "ended with exit code 127" in caught.value.message


def test_it_imports_nothing_that_a_device_may_lack() -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    runtimes = {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime"}
    assert imported - set(sys.stdlib_module_names) == runtimes


def test_what_runtimes_print_does_not_disturb_the_answer(tmp_path: Path) -> None:
    job = {**json.loads(QUICK.to_json()), "files": []}
    (tmp_path / "job.json").write_text(json.dumps(job))
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'noise\\n')")
    done = subprocess.run(
        [sys.executable, RUNNER, tmp_path / "job.json"],
        capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True,
    )  # fmt: skip
    assert DeviceRun.parse(json.loads(done.stdout), source="").files == ()


# The machine's own settings


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two slow cores and, where there are more, fast ones, as /sys tells them."""
    monkeypatch.setattr(runner, "_CPUS", tmp_path)
    for core, khz in enumerate((1_800_000, 1_800_000, 2_400_000, 2_400_000)):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (folder / "scaling_cur_freq").write_text(f"{khz - 100_000}\n")
    for policy in (0, 2):
        (tmp_path / "cpufreq" / f"policy{policy}").mkdir(parents=True)
        (tmp_path / "cpufreq" / f"policy{policy}" / "scaling_governor").write_text("ondemand\n")
    return tmp_path


def governors(cpus: Path) -> set[str]:
    return {path.read_text().strip() for path in cpus.glob("cpufreq/*/scaling_governor")}


def test_the_governor_is_set_while_measuring_and_put_back_whatever_happens(cpus: Path) -> None:
    with pytest.raises(SystemExit), runner._governed("performance") as held:
        runner._leave(signal.SIGTERM, (held, governors(cpus)))
    assert held == "performance"
    assert governors(cpus) == {"ondemand"}


def test_without_a_wish_the_governor_stays(cpus: Path) -> None:
    with runner._governed(None) as held:
        assert held == "ondemand"
        assert governors(cpus) == {"ondemand"}


def test_the_fastest_cores_are_chosen_where_some_are(cpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[object] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: chosen.append(cores))
    assert runner._pinned() == [2, 3]
    assert chosen == [[2, 3]]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert runner._pinned() == []
    assert chosen == [[2, 3]]


def test_the_clock_is_that_of_the_fastest_core_asked_for(cpus: Path) -> None:
    assert runner.state([0, 1])["clock_mhz"] == 1700.0
    assert runner.state([2])["clock_mhz"] == 2300.0


def test_warming_up_ends_when_two_blocks_take_alike_long() -> None:
    blocks: list[int] = []

    class Steady:
        def infer(self) -> np.ndarray:
            blocks.append(1)
            return np.zeros(1)

    taken = runner._warm_up(Steady(), 5, 10.0)
    assert taken == len(blocks)
    assert taken % 5 == 0
    assert 10 <= taken <= 50

"""Latency is measured on the real runtime, with its samples and the facts that explain it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from tiny import ELSEWHERE, tiny_floats, tiny_folder

from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.target import Host
from edgeprune.stages.profile import describe_device, profile, profile_files

HERE = ELSEWHERE.model_copy(update={"name": "here", "host": Host(machine=platform.machine())})


def test_every_file_is_measured_with_its_samples_runtime_and_threads() -> None:
    latencies = profile(tiny_floats(), tiny_folder(), ELSEWHERE)
    assert [one.runtime for one in latencies] == ["onnxruntime", "litert"]
    for one in latencies:
        assert one.kind == "measured"
        assert one.device == describe_device().name
        assert one.runtime_version
        assert one.timing is not None
        assert len(one.timing.samples_ns) == 15 * 20
        assert one.timing.warmup >= 20
        assert one.timing.threads == 1
        assert 0 < one.timing.p50_ms < one.timing.p99_ms
        assert (one.p50_ms, one.p95_ms, one.p99_ms) == (
            *(one.timing.p50_ms, one.timing.p95_ms, one.timing.p99_ms),
        )


def test_threads_are_those_asked_for_and_never_more_than_there_are_cores() -> None:
    (asked,) = profile(tiny_floats()[:1], tiny_folder(), ELSEWHERE, threads=2)
    many = ELSEWHERE.model_copy(update={"threads": 10_000})
    (capped,) = profile(tiny_floats()[:1], tiny_folder(), many)
    assert asked.timing is not None
    assert capped.timing is not None
    assert (asked.timing.threads, capped.timing.threads) == (2, os.cpu_count())


def test_loose_files_are_described_and_measured() -> None:
    paths = [tiny_folder() / one.path for one in tiny_floats()]
    found = profile_files(paths, HERE)
    assert (found.target, found.at_hand) == ("here", True)
    for path, one, known in zip(paths, found.files, tiny_floats(), strict=True):
        assert one.artifact.path == str(path)
        assert one.artifact.sha256 == known.sha256
        assert one.artifact.inputs[0].shape == known.inputs[0].shape
        assert one.latency.kind == "measured"


def test_a_lost_file_is_a_device_error(tmp_path: Path) -> None:
    onnx, tflite = tiny_floats()
    with pytest.raises(DeviceError) as caught:
        profile([onnx], tmp_path, ELSEWHERE)
    assert caught.value.message.startswith("model.onnx: onnxruntime refuses it: [ONNXRuntimeError] : 3 : NO")
    with pytest.raises(DeviceError) as caught:
        profile([tflite], tmp_path, ELSEWHERE)
    lost = tmp_path / "model.tflite"
    assert caught.value.message.startswith(f"model.tflite: LiteRT refuses it: Could not open '{lost}'.")


def test_a_loose_file_must_exist_and_have_a_runtime(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        profile_files([tmp_path / "a.onnx"], ELSEWHERE)
    assert caught.value.message == f"{tmp_path}/a.onnx: no such file"
    assert caught.value.hint == "check the path of the file"
    (tmp_path / "a.coreml").write_text("")
    with pytest.raises(RequestError) as caught:
        profile_files([tmp_path / "a.coreml"], ELSEWHERE)
    assert caught.value.message == f"{tmp_path}/a.coreml: target 'elsewhere' has no runtime for it"
    assert caught.value.hint == "it runs .onnx, .tflite files"


def test_this_machine_is_described() -> None:
    device = describe_device()
    assert device.machine == platform.machine()
    assert device.cores == os.cpu_count()
    assert device.name == f"{platform.node()} ({device.cpu})"
    assert device.load_average is not None

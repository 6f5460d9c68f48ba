"""Old boards run tflite-runtime 2.14, which needs numpy < 2: files answer there, or it is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import ELSEWHERE, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized

from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.protocols import Session
from edgeprune.core.registry import build
from edgeprune.stages.old_runtime import try_old_runtime

MADE = Path(__file__).parents[2] / ".venv-tflite" / "bin" / "python"
needed = pytest.mark.skipif(
    not (MADE.exists() or os.environ.get("EDGEPRUNE_TFLITE_RUNTIME")),
    reason="no .venv-tflite; make it with: make tflite-runtime",
)


def opened(path: Path, **options: object) -> Session:
    session: Session = build("runtimes", "tflite-runtime", options).open(path)
    return session


@needed
def test_a_float_file_answers_alike_in_tflite_runtime() -> None:
    program = tiny_coupling().program
    inputs = program.example(7, seed=1)
    session = opened(tiny_folder() / tiny_floats()[1].path)
    answers, expected = session.infer(inputs.numpy()), program.run(inputs).numpy()
    assert answers.shape == expected.shape
    assert np.abs(answers - expected).max() < 1e-4 * np.abs(expected).max()
    assert session.facts() == {"runtime": "tflite-runtime", "version": "2.14.0"}
    assert session.input_shape == (1, 3, 16, 16)
    assert len(session.time(inputs[:1].numpy(), warmup=1, runs=5)) == 5


@needed
def test_every_file_is_tried_and_said_to_ship_or_not() -> None:
    files = (*tiny_floats(), *tiny_quantized())
    found = try_old_runtime(files, tiny_folder(), ELSEWHERE)
    assert sorted(found) == sorted(one.path for one in files if one.format == "tflite")
    assert found["model.tflite"].ships
    assert all(one.why for one in found.values() if not one.ships)


@needed
def test_what_it_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "odd.tflite").write_bytes(b"not a model")
    with pytest.raises(DeviceError, match=r"odd\.tflite: tflite-runtime refuses it: Model provided"):
        opened(tmp_path / "odd.tflite")


def test_a_python_without_it_ends_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"a\.tflite: tflite-runtime ended with code 1: .*tflite_runtime"):
        opened(tmp_path / "a.tflite", python=sys.executable)


def test_without_such_an_environment_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_TFLITE_RUNTIME", str(tmp_path / "python"))
    with pytest.raises(PluginError) as caught:
        opened(tmp_path / "a.tflite")
    assert caught.value.message == f"tflite-runtime: {tmp_path}/python: no such Python"
    assert caught.value.hint.startswith("`make tflite-runtime` makes one")
    found = try_old_runtime(tiny_floats(), tiny_folder(), ELSEWHERE)
    assert found["model.tflite"].ships is None
    assert found["model.tflite"].why == caught.value.message

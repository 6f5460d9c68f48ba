from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from shipments import verified

from edgeprune.core.errors import StorageError
from edgeprune.stages.embed import embed

FILES = [
    "assets.json",
    "manifest.json",
    "model.tflite",
    "self_test_input.bin",
    "self_test_output.bin",
    "signature.json",
]


def test_an_app_finds_all_it_needs_in_its_assets(tmp_path: Path) -> None:
    """As an app does it: the description, raw numbers and the runtime, nothing of edgeprune."""
    embed(verified("model.tflite"), tmp_path / "assets")
    told = json.loads((tmp_path / "assets" / "assets.json").read_text())
    model = (tmp_path / "assets" / told["path"]).read_bytes()
    assert hashlib.sha256(model).hexdigest() == told["sha256"]
    assert told["version"] == verified("model.tflite").bundle.id

    def raw(name: str) -> np.ndarray:
        tensor = told["self_test"][name]
        path = tmp_path / "assets" / tensor["path"]
        return np.fromfile(path, np.dtype(tensor["dtype"]).newbyteorder("<")).reshape(tensor["shape"])

    interpreter = Interpreter(model_content=model, num_threads=told["threads"])
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], raw("inputs"))
    interpreter.invoke()
    answer, expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), raw("outputs")
    assert np.abs(answer - expected).max() <= told["self_test"]["tolerance"] * np.abs(expected).max()


def test_newer_assets_take_the_place_of_older_ones(tmp_path: Path) -> None:
    embed(verified("model.onnx"), tmp_path / "assets")
    embed(verified("model.tflite"), tmp_path / "assets")
    assert sorted(path.name for path in (tmp_path / "assets").iterdir()) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_an_empty_folder_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    embed(verified("model.tflite"), tmp_path / "assets")
    assert sorted(path.name for path in (tmp_path / "assets").iterdir()) == FILES


@pytest.mark.parametrize("name", ["MainActivity.kt", "assets.json"])
def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(StorageError, match="exists and holds no assets of edgeprune"):
        embed(verified("model.tflite"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_put_there_leaves_the_old_assets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = embed(verified("model.onnx"), tmp_path / "assets")
    real = Path.replace

    def broken(self: Path, target: Path) -> Path:
        if self.name == "assets" and self.parent.name.startswith(".writing-"):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(StorageError, match="the disk is full"):
        embed(verified("model.tflite"), tmp_path / "assets")
    assert json.loads((tmp_path / "assets" / "assets.json").read_text())["version"] == old.version
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]

"""Formats: what a file says of itself, and notes that leave the network in it as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import ELSEWHERE, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ModelError
from edgeprune.core.protocols import FileFormat
from edgeprune.core.registry import build, names

PRECISIONS = ("", ".fp16", ".int8-static", ".int8-dynamic")
PATHS = [f"model{precision}.{format}" for format in ("onnx", "tflite") for precision in PRECISIONS]


@pytest.fixture(params=PATHS)
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return next(one for one in (*tiny_floats(), *tiny_quantized()) if one.path == request.param)


def reader_of(artifact: Artifact) -> FileFormat:
    reader: FileFormat = build("formats", artifact.format)
    return reader


def test_a_file_says_what_goes_in_and_comes_out(artifact: Artifact) -> None:
    found = reader_of(artifact).look(tiny_folder() / artifact.path)
    assert (found.inputs, found.outputs) == (artifact.inputs, artifact.outputs)
    assert (found.bytes, found.sha256) == (artifact.bytes, artifact.sha256)
    assert sum(found.operators.values()) > 4


def test_notes_leave_the_network_as_it_was(artifact: Artifact, tmp_path: Path) -> None:
    reader, source, path = reader_of(artifact), tiny_folder() / artifact.path, tmp_path / artifact.path
    reader.note(source, path, {"precision": "draft", "gone": "soon"})
    reader.note(path, path, {"precision": artifact.precision, "labels": '["Zürich", "b"]'})
    found, before = reader.look(path), reader.look(source)
    assert found.notes == {"precision": artifact.precision, "labels": '["Zürich", "b"]'}
    assert found.precision == artifact.precision
    assert (found.operators, found.weights) == (before.operators, before.weights)
    runtime = build("runtimes", ELSEWHERE.runtimes[artifact.format])
    inputs = tiny_coupling().program.example(3).numpy()
    assert np.array_equal(runtime.open(path).infer(inputs), runtime.open(source).infer(inputs))


def test_notes_are_the_same_bytes_every_time(artifact: Artifact, tmp_path: Path) -> None:
    reader, source = reader_of(artifact), tiny_folder() / artifact.path
    for name in ("a", "b"):
        reader.note(source, tmp_path / name, {"one": "1", "two": "2"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("format", names("formats"))
@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)), b"\x20\0\0\0TFL3" + bytes(40)])
def test_what_is_no_such_file_is_said_so(format: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"odd.{format}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"odd\.{format}: not a valid (ONNX|TFLite) file"):
        build("formats", format).look(path)


def test_a_file_that_was_cut_off_is_refused_or_read(artifact: Artifact, tmp_path: Path) -> None:
    content = (tiny_folder() / artifact.path).read_bytes()
    path = tmp_path / artifact.path
    for part in range(1, 8):
        path.write_bytes(content[: len(content) * part // 8])
        try:
            reader_of(artifact).look(path)
        except ModelError as error:
            assert "not a valid" in error.message  # noqa: PT017 - weights at the end may be missing unseen

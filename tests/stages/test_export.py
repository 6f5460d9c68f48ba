"""Exported files answer like the program, are the same every time, and say nothing of this machine."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import ELSEWHERE, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized
from torch import Tensor, nn

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ModelError
from edgeprune.core.files import sha256
from edgeprune.core.registry import build
from edgeprune.graph.capture import capture
from edgeprune.graph.stored import Programs
from edgeprune.stages.export import export

# Every machine-specific path that could get in: this checkout, its interpreter, the torch it uses.
PLACES = {
    *(str(Path(__file__).parents[2]), str(Path.home()), str(Path(torch.__file__).parent), str(tiny_folder())),
    *(".py", "site-packages"),
}


class Odd(nn.Module):
    """An operator that neither format has."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x.flatten(1))


def answers(artifact: Artifact, inputs: np.ndarray) -> np.ndarray:
    runtime = build("runtimes", ELSEWHERE.runtimes[artifact.format])
    return runtime.open(tiny_folder() / artifact.path).infer(inputs)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("index", [0, 1], ids=["onnx", "tflite"])
def test_float_files_answer_like_the_program(index: int, batch: int) -> None:
    program = tiny_coupling().program
    inputs = program.example(batch, seed=7)
    answered = answers(tiny_floats()[index], inputs.numpy())
    expected = program.run(inputs).numpy()
    assert answered.shape == expected.shape
    assert np.abs(answered - expected).max() < 1e-4 * np.abs(expected).max()


def test_files_are_described_with_what_goes_in_and_out() -> None:
    described = [one.model_dump(exclude={"bytes", "sha256"}) for one in tiny_floats()]
    assert described == [
        {
            "format": format,
            "precision": "fp32",
            "path": f"model.{format}",
            "parent": "cd34",
            "inputs": ({"name": "input", "shape": (batch, 3, 16, 16), "dtype": "float32"},),
            "outputs": ({"name": "output", "shape": (batch, 10), "dtype": "float32"},),
            "transposes": None,
        }
        for format, batch in (("onnx", None), ("tflite", 1))
    ]
    for one in tiny_floats():
        path = tiny_folder() / one.path
        assert (one.bytes, one.sha256) == (path.stat().st_size, sha256(path))


def test_onnx_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    again, _ = export(tiny_coupling().program, ("onnx",), tmp_path, parent="cd34")
    assert again[0] == tiny_floats()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_onnx_has_named_ends_a_free_batch_folded_norms_and_an_old_opset() -> None:
    model = onnx.load(tiny_folder() / tiny_floats()[0].path)
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["input", "output"]
    assert [end.type.tensor_type.shape.dim[0].dim_param for end in ends] == ["batch", "batch"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]


def test_no_file_names_a_folder_of_this_machine() -> None:
    for one in (*tiny_floats(), *tiny_quantized()):
        content = (tiny_folder() / one.path).read_bytes()
        assert not [place for place in PLACES if place.encode() in content], one.path


def test_an_operator_that_no_format_has_is_an_error_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        export(capture(Odd(), (3, 4, 4)), ("onnx", "tflite"), tmp_path, parent="")
    reasons = caught.value.message.split("; ")
    assert reasons[0].startswith("ONNX export failed: ")
    assert reasons[-1].startswith("TFLite export failed: ")
    assert caught.value.hint == "the shrunk network itself is in model.pt2"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_full_disk_is_no_fault_of_the_exporter(format: str) -> None:
    program = tiny_coupling().program
    with pytest.raises(OSError, match="No space left on device") as caught:
        build("exporters", format).export(program.exported(), program.example(2), Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


def test_a_network_that_was_saved_makes_the_same_onnx(tmp_path: Path) -> None:
    kept = Programs("model.pt2")
    kept.write(tiny_coupling().program, tmp_path)
    (again,), _ = export(kept.read(tmp_path), ("onnx",), tmp_path, parent="cd34")
    assert again == tiny_floats()[0]

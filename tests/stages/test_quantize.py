"""Smaller files load and answer nearly alike; what cannot be made is said, and leaves no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny import ELSEWHERE, a_split, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized
from torch import Tensor, nn
from zoo import IMAGE

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Session
from edgeprune.core.registry import build
from edgeprune.graph.capture import capture
from edgeprune.stages.export import export
from edgeprune.stages.quantize import quantize

# Largest difference over the largest answer, seen here: fp16 1e-3, int8 2e-2.
NEAR = {"fp16": 1e-2, "int8-static": 0.1, "int8-dynamic": 0.1}


def of(format: str, precision: str) -> Artifact:
    return next(
        one
        for one in (*tiny_floats(), *tiny_quantized())
        if (one.format, one.precision) == (format, precision)
    )


def copied(artifact: Artifact, folder: Path) -> Artifact:
    (folder / artifact.path).write_bytes((tiny_folder() / artifact.path).read_bytes())
    return artifact


def test_images_give_static_int8_and_their_absence_dynamic_int8() -> None:
    assert [(one.path, one.format, one.precision) for one in tiny_quantized()] == [
        ("model.fp16.onnx", "onnx", "fp16"),
        ("model.int8-static.onnx", "onnx", "int8-static"),
        ("model.fp16.tflite", "tflite", "fp16"),
        ("model.int8-static.tflite", "tflite", "int8-static"),
        ("model.int8-dynamic.onnx", "onnx", "int8-dynamic"),
        ("model.int8-dynamic.tflite", "tflite", "int8-dynamic"),
    ]


@pytest.mark.parametrize("precision", ["fp16", "int8-static", "int8-dynamic"])
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_smaller_file_answers_nearly_alike(format: str, precision: str) -> None:
    artifact = of(format, precision)
    runtime = build("runtimes", ELSEWHERE.runtimes[artifact.format])
    inputs = next(a_split(20, seed=5).batches(20))[0]
    answers = runtime.open(tiny_folder() / artifact.path).infer(inputs)
    expected = runtime.open(tiny_folder() / of(format, "fp32").path).infer(inputs)
    assert answers.shape == expected.shape == (20, 10)
    assert answers.dtype == np.float32
    difference = np.abs(answers - expected).max() / np.abs(expected).max()
    assert 0 < difference < NEAR[precision]


def test_files_are_smaller_and_name_the_file_they_were_made_from() -> None:
    for one in tiny_quantized():
        base = of(one.format, "fp32")
        assert one.bytes < 0.8 * base.bytes, one.path
        assert (one.parent, one.inputs, one.outputs) == (base.sha256, base.inputs, base.outputs)


def test_weights_are_signed_per_channel_and_activations_unsigned() -> None:
    model = onnx.load(tiny_folder() / "model.int8-static.onnx")
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantized
    assert {values[node.input[2]].dtype for node in quantized} == {np.dtype(np.uint8)}
    weights = [name for name, value in values.items() if value.dtype == np.int8 and value.ndim == 4]
    assert len(weights) == 3
    for name in weights:
        (reader,) = [node for node in model.graph.node if name in node.input]
        assert values[reader.input[1]].shape == (len(values[name]),)


def test_quantizing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    again, _ = quantize(
        [copied(one, tmp_path) for one in tiny_floats()], ("int8-static",), a_split(64), tmp_path
    )
    assert [one.sha256 for one in again] == [
        of("onnx", "int8-static").sha256,
        of("tflite", "int8-static").sha256,
    ]


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    written, failed = quantize([copied(tiny_floats()[0], tmp_path)], ("fp32", "fp16"), None, tmp_path)
    assert ([one.path for one in written], failed) == (["model.fp16.onnx"], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.fp16.onnx", "model.onnx"]


def test_a_weight_beyond_half_precision_is_a_reason_and_leaves_no_file(tmp_path: Path) -> None:
    source = copied(tiny_floats()[0], tmp_path)
    model = onnx.load(tmp_path / source.path)
    weight = next(one for one in model.graph.initializer if one.name == "head.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = 1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / source.path)
    written, failed = quantize([source], ("fp16",), None, tmp_path)
    assert written == []
    assert failed == {"model.fp16.onnx": "weight 'head.weight' reaches 1e+05, beyond fp16's 65504"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_calibration_uses_no_more_images_than_its_option_says(format: str, tmp_path: Path) -> None:
    batches = [inputs for inputs, _ in a_split(64).batches(8)]
    source = tiny_folder() / of(format, "fp32").path
    paths = []
    for name, images in (("all", batches), ("few", batches[:2]), ("other", batches[2:])):
        paths.append(tmp_path / name)
        build("quantizers", f"{format}-int8-static", {"images": 16}).quantize(source, paths[-1], images)
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] != contents[2]


def test_the_network_is_the_one_that_was_exported() -> None:
    inputs = next(a_split(20, seed=5).batches(20))[0]
    runtime = build("runtimes", "litert")
    answers = runtime.open(tiny_folder() / of("tflite", "int8-static").path).infer(inputs)
    expected = tiny_coupling().program.run(torch.from_numpy(inputs)).numpy()
    assert (answers.argmax(1) == expected.argmax(1)).mean() >= 0.9


LAYERS = {
    "convolution": lambda: nn.Conv2d(8, 8, 3),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, groups=8),
    "linear": lambda: nn.Linear(8, 8),
}


class Hushed(nn.Module):
    """A layer that reads next to nothing, multiplies it with next to nothing, and has a bias of some size."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.last = LAYERS[kind]()
        with torch.no_grad():
            self.first.weight *= 1e-4
            self.last.weight *= 1e-4
            self.last.bias.copy_(torch.linspace(-3, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Eight means."""
        maps = self.first(x).relu()
        maps = self.last(maps.mean((2, 3)))[..., None, None] if self.linear else self.last(maps)
        return maps.mean((2, 3))

    @property
    def linear(self) -> bool:
        return isinstance(self.last, nn.Linear)


@pytest.mark.parametrize(
    ("kind", "precision", "per_channel"),
    [(kind, precision, True) for kind in LAYERS for precision in ("int8-static", "int8w-int16a")]
    + [("convolution", "int8-static", False)],
)
def test_a_bias_of_more_steps_than_32_bits_hold_keeps_its_value(
    kind: str, precision: str, per_channel: bool, tmp_path: Path
) -> None:
    program = capture(Hushed(kind).eval(), IMAGE)
    (source,), _ = export(program, ("tflite",), tmp_path, parent="")
    quantizer = build("quantizers", f"tflite-{precision}", {"per_channel": per_channel})
    quantizer.quantize(tmp_path / source.path, tmp_path / "small", a_split(64).inputs(8))
    inputs = next(a_split(20, seed=5).batches(20))[0]
    answers = build("runtimes", "litert").open(tmp_path / "small").infer(inputs)
    expected = program.run(torch.from_numpy(inputs)).numpy()
    assert np.abs(answers - expected).max() < 0.01 * np.abs(expected).max()


class Normed(nn.Module):
    """Divides by what is zero in integers: lengths that one range holds together with far larger ones."""

    def forward(self, x: Tensor) -> Tensor:
        """Eight channels, the first of which is long."""
        lengths = (x * x).mean((2, 3), keepdim=True).clamp_min(1e-6)
        wide = torch.cat([lengths * 1e-4, lengths], 1)
        return (torch.cat([x, x], 1) / wide).mean((2, 3))


def divided(folder: Path) -> Session:
    """A file that divides, in integers as far as the quantizer takes it there."""
    (source,), _ = export(capture(Normed().eval(), IMAGE), ("tflite",), folder, parent="")
    quantizer = build("quantizers", "tflite-int8-static")
    quantizer.quantize(folder / source.path, folder / "small", a_split(64).inputs(8))
    opened: Session = build("runtimes", "litert").open(folder / "small")
    return opened


def test_a_division_stays_float32_where_integers_would_divide_by_zero(tmp_path: Path) -> None:
    answers = divided(tmp_path).infer(next(a_split(20, seed=5).batches(20))[0])
    assert np.isfinite(answers).all()


def test_a_file_that_fails_while_it_runs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.plugins.quantizers.tflite_static._NEVER", frozenset())
    session = divided(tmp_path)
    with pytest.raises(DeviceError, match=r"^small: LiteRT fails while it runs: .*div\.cc"):
        session.infer(next(a_split(1, seed=5).batches(1))[0])


class Silent(nn.Module):
    """A branch that is zero for every image, beside one that is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.squeeze, self.excite, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(3, 8, 1)
        with torch.no_grad():
            self.squeeze.bias.fill_(-100.0)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return (gate * self.other(x)).mean((2, 3))


def test_a_layer_that_calibration_only_saw_as_zero_has_a_step_that_kernels_take(tmp_path: Path) -> None:
    program = capture(Silent().eval(), IMAGE)
    (source,), _ = export(program, ("tflite",), tmp_path, parent="")
    quantizer = build("quantizers", "tflite-int8-static")
    quantizer.quantize(tmp_path / source.path, tmp_path / "small", a_split(64).inputs(8))
    inputs = next(a_split(20, seed=5).batches(20))[0]
    answers = build("runtimes", "litert").open(tmp_path / "small").infer(inputs)
    expected = program.run(torch.from_numpy(inputs)).numpy()
    assert np.abs(answers - expected).max() < 0.05 * np.abs(expected).max()

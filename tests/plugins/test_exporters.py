"""Exporters: readable names, the batch and the opset that were asked for, and extras that prove the seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import tiny_coupling
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.interface import Interface
from edgeprune.core.protocols import FileFormat, Session
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build, names
from edgeprune.graph.capture import capture
from edgeprune.graph.portable import portable
from edgeprune.graph.single_file import require_single_file
from edgeprune.stages.export import export

# Per format the runtime that opens it, and the package without which neither works.
OTHERS = {
    "pt2": ("torch", "torch"),
    "openvino": ("openvino", "openvino"),
    "executorch": ("executorch", "executorch"),
    "ncnn": ("ncnn", "ncnn"),
}


class Branches(nn.Module):
    """One activation called twice, a sum, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = self.act(self.stem(x))
        return self.head(self.act(first + self.block(first)).mean((2, 3)))


class Windowed(nn.Module):
    """Hiera's attention: windows have an axis of their own beside the heads."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, 3, 2, 4, 8)
        query = tokens.amax(3, keepdim=True)
        return scaled_dot_product_attention(query, tokens, tokens, scale=0.5).flatten(1)


class ScaledBranch(nn.Module):
    """ConvNeXt's block: a linear layer over the channels behind it, scaled per channel in front of them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(3, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.rand(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.narrow(torch.relu(self.wide(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        return (x + self.scale * branch).flatten(1)


class ChannelAttention(nn.Module):
    """ECA: a convolution along the channels makes a gate, which is expanded before it is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.along = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.along(x.mean((2, 3)).view(x.shape[0], 1, -1))
        return self.head(x * gate.sigmoid().view(x.shape[0], -1, 1, 1).expand_as(x)).mean((2, 3))


class Attention(nn.Module):
    """A view that holds for the fused operator's strides only."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(2, (2, 4)).transpose(1, 2)
        return scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).view(-1, 24)


def exported(
    folder: Path, format: str, interface: Interface | None = None, net: nn.Module | None = None
) -> Path:
    program = capture(net or Branches(), (3, 8, 8))
    (one,), failed = export(program, (format,), folder, parent="", interface=interface)
    assert not failed
    return folder / one.path


def held(path: Path) -> tuple[list[tuple[int | None, ...]], dict[str, int]]:
    reader: FileFormat = build("formats", path.suffix[1:])
    found = reader.look(path)
    return [one.shape for one in (*found.inputs, *found.outputs)], found.operators


# ONNX


def test_onnx_nodes_are_named_after_modules(tmp_path: Path) -> None:
    graph = onnx.load(exported(tmp_path, "onnx")).graph
    assert [node.name for node in graph.node] == [
        *("stem", "act.relu", "block.0", "add", "act.relu_2", "reducemean", "head")
    ]
    assert [list(node.output) for node in graph.node][:-1] == [[node.name] for node in graph.node][:-1]
    assert graph.output[0].name == "output"


@pytest.mark.parametrize(("batch", "size"), [("one", 1), ("free", None), (None, None)])
def test_the_batch_of_onnx_is_free_unless_it_is_to_be_one(
    tmp_path: Path, batch: str, size: int | None
) -> None:
    shapes, _ = held(exported(tmp_path, "onnx", Interface.parse({"batch": batch}, source="test")))
    assert shapes == [(size, 3, 8, 8), (size, 5)]


@pytest.mark.parametrize("batch", ["one", "free"])
def test_channels_last_cost_onnx_one_transpose_and_nothing_else(tmp_path: Path, batch: str) -> None:
    plain = held(exported(tmp_path / "a", "onnx"))[1]
    turned = held(
        exported(tmp_path / "b", "onnx", Interface.parse({"batch": batch, "layout": "nhwc"}, source=""))
    )
    assert turned[1] == {**plain, "Transpose": 1}


def test_a_view_of_fused_attention_has_an_onnx(tmp_path: Path) -> None:
    (one,), failed = export(capture(Attention(), (3, 8)), ("onnx",), tmp_path, parent="")
    assert not failed
    session: Session = build("runtimes", "onnxruntime").open(tmp_path / one.path)
    x = torch.randn(2, 3, 8)
    assert np.abs(session.infer(x.numpy()) - Attention()(x).numpy()).max() < 1e-5


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_fused_attention_within_windows(format: str, tmp_path: Path) -> None:
    path = exported(tmp_path, format, net=Windowed())
    session: Session = build("runtimes", {"onnx": "onnxruntime", "tflite": "litert"}[format]).open(path)
    x = torch.randn(2, 3, 8, 8)
    assert np.abs(session.infer(x.numpy()) - Windowed()(x).numpy()).max() < 1e-5


def test_a_newer_opset_is_written_when_it_is_asked_for(tmp_path: Path) -> None:
    program = tiny_coupling().program
    build("exporters", "onnx", {"opset": 20}).export(program.exported(), program.example(2), tmp_path / "a")
    assert onnx.load(tmp_path / "a").opset_import[0].version == 20


def test_an_opset_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    program = tiny_coupling().program
    with pytest.raises(ModelError) as caught:
        build("exporters", "onnx", {"opset": 13}).export(
            program.exported(), program.example(2), tmp_path / "a"
        )
    assert caught.value.message == (
        "ONNX export failed: the network cannot be written in opset 13, only in 18"
    )


def test_a_runtime_that_reads_no_such_opset_is_refused_before_any_work(tmp_path: Path) -> None:
    program = tiny_coupling().program
    old = build("exporters", "onnx", {"runtime_version": "1.9"})
    with pytest.raises(ModelError, match=r"the target's onnxruntime 1\.9 does not read opset 18"):
        old.export(program.exported(), program.example(2), tmp_path / "a")


# TFLite


def test_tflite_has_a_signature_with_the_same_names_as_onnx(tmp_path: Path) -> None:
    reader: FileFormat = build("formats", "tflite")
    found = reader.look(exported(tmp_path, "tflite", Interface(answer="top5")))
    assert [one.name for one in (*found.inputs, *found.outputs)] == ["input", "classes", "scores"]


def test_channels_last_leave_tflite_without_a_transpose(tmp_path: Path) -> None:
    reader: FileFormat = build("formats", "tflite")
    pooled = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    plain = exported(tmp_path / "a", "tflite", net=pooled)
    turned = exported(tmp_path / "b", "tflite", Interface(layout="nhwc"), pooled)
    assert reader.look(plain).transposes == 1
    assert reader.look(turned).transposes == 0


def test_a_gate_that_is_expanded_before_it_is_multiplied(tmp_path: Path) -> None:
    net = ChannelAttention().eval()
    x = torch.randn(1, 3, 8, 8)
    for format, runtime in (("onnx", "onnxruntime"), ("tflite", "litert")):
        session: Session = build("runtimes", runtime).open(exported(tmp_path, format, net=net))
        with torch.no_grad():
            assert np.abs(session.infer(x.numpy()) - net(x).numpy()).max() < 1e-5


def test_an_expansion_that_nobody_else_does_stays() -> None:
    class Repeated(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wide = x.mean((2, 3), keepdim=True).expand_as(x)
            return (wide + wide).flatten(1)

    program = portable(capture(Repeated(), (3, 8, 8)).exported())
    assert [str(one.target) for one in program.graph.nodes].count("aten.expand_as.default") == 1


@pytest.mark.parametrize(
    "told", [{"size": (7, 16)}, {"size": (3, 5)}, {"scale_factor": 1.3}, {"scale_factor": (2.0, 1.5)}]
)
def test_the_nearest_neighbour_is_the_one_that_pytorch_takes(told: dict[str, object], tmp_path: Path) -> None:
    class Resized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return interpolate(x, mode="nearest", **told).flatten(1)  # type: ignore[arg-type]

    session: Session = build("runtimes", "litert").open(exported(tmp_path, "tflite", net=Resized()))
    x = torch.randn(1, 3, 8, 8)
    assert np.array_equal(session.infer(x.numpy()), Resized()(x).numpy())


def test_a_bias_that_was_folded_from_four_axes_has_one_and_can_be_integers(tmp_path: Path) -> None:
    source = exported(tmp_path, "tflite", net=ScaledBranch())
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8), dtype=np.float32)
    build("quantizers", "tflite-int8-static").quantize(source, tmp_path / "int8.tflite", [images])
    whole, integers = (build("runtimes", "litert").open(tmp_path / one) for one in (source, "int8.tflite"))
    expected = whole.infer(images[:1])
    assert np.abs(integers.infer(images[:1]) - expected).max() < 0.05 * np.abs(expected).max()


# Others


def test_a_batch_of_one_is_answered_one_by_one(tmp_path: Path) -> None:
    net = Branches().eval()
    session: Session = build("runtimes", "onnxruntime").open(
        exported(tmp_path, "onnx", Interface(batch="one"), net)
    )
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert np.abs(session.infer(x.numpy()) - net(x).numpy()).max() < 1e-5


@pytest.mark.parametrize("format", OTHERS)
def test_every_other_format_answers_like_the_program(tmp_path: Path, format: str) -> None:
    runtime, package = OTHERS[format]
    pytest.importorskip(
        package, reason=f"{package} is missing; get it with: pip install 'edgeprune[{format}]'"
    )
    net = Branches().eval()
    path = exported(tmp_path, format, net=net)
    session: Session = build("runtimes", runtime).open(path)
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert np.abs(session.infer(x.numpy()) - net(x).numpy()).max() < 1e-5
    assert len(session.time(x.numpy()[:1], warmup=1, runs=3)) == 3
    assert session.facts()["runtime"] == runtime


def test_pt2_lies_beside_the_networks_own_archive_and_names_no_paths(tmp_path: Path) -> None:
    path = exported(tmp_path, "pt2")
    assert path.name == "model.fp32.pt2"
    assert b".py" not in path.read_bytes()


@pytest.mark.parametrize("format", sorted({*OTHERS} - {"pt2"}))
def test_a_missing_package_is_named_with_how_to_get_it(tmp_path: Path, format: str) -> None:
    try:
        __import__("pnnx" if format == "ncnn" else format)
    except ImportError:
        program = tiny_coupling().program
        with pytest.raises(PluginError) as caught:
            build("exporters", format).export(program.exported(), program.example(2), tmp_path / "a")
        assert caught.value.hint == f"pip install 'edgeprune[{format}]'"
    else:
        pytest.skip(f"{format} is installed here")


def test_every_format_has_an_exporter_of_its_name() -> None:
    assert set(names("formats")) <= set(names("exporters"))


# All


def test_weights_beyond_two_gigabytes_are_refused_before_any_work() -> None:
    huge = torch.zeros(1).expand(600_000_000)
    with pytest.raises(ModelError) as caught:
        require_single_file([huge], "ONNX")
    assert caught.value.message == ("ONNX export failed: the weights take 2.4 GB, and one file holds 2 GB")


def test_frames_are_taken_by_every_format_that_can(tmp_path: Path) -> None:
    program = capture(Branches(), (3, 8, 8))
    interface = Interface(camera=True, layout="nhwc", answer="argmax")
    written, failed = export(
        program,
        ("onnx", "tflite", "pt2"),
        tmp_path,
        parent="",
        interface=interface,
        preprocess=Preprocess(mean=(0.5,)),
    )
    assert not failed
    assert {one.inputs[0].dtype for one in written} == {"uint8"}
    frames = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
    runtimes = ("onnxruntime", "litert", "torch")
    answers = [
        build("runtimes", runtime).open(tmp_path / one.path).infer(frames)
        for runtime, one in zip(runtimes, written, strict=True)
    ]
    assert all((answer == answers[0]).all() for answer in answers)

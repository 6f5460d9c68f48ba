"""The museum of networks that a format cannot hold: the operator and the user's line are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune.core.errors import ModelError, RequestError
from edgeprune.core.interface import Interface
from edgeprune.core.request import Budget
from edgeprune.core.target import find_target
from edgeprune.graph.capture import capture
from edgeprune.stages.ask import ask
from edgeprune.stages.export import export


class Products(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumprod(x.flatten(1), 1)


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x[:, 0] + 9 * torch.eye(4)).flatten(1)


class Largest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_max_pool2d(x, 3).flatten(1)


class Determinant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.det(x)


MISSING = {
    (Products, "onnx"): "aten.cumprod",
    (Products, "tflite"): "aten.cumprod",
    (Inverse, "onnx"): "aten.linalg_inv",
    (Inverse, "tflite"): "aten.linalg_inv",
    (Largest, "onnx"): "aten.adaptive_max_pool2d",
    (Largest, "tflite"): "aten.adaptive_max_pool2d",
    (Determinant, "tflite"): "aten.linalg_det",
}
NAMES = {
    "onnx": ("ONNX", "ONNX has no operator for it"),
    "tflite": ("TFLite", "the converter has no operator for it"),
}


@pytest.mark.parametrize(("network", "format"), MISSING, ids=lambda one: getattr(one, "__name__", one))
def test_an_operator_that_a_format_lacks_is_named_with_the_users_line(
    network: type[nn.Module], format: str, tmp_path: Path
) -> None:
    title, why = NAMES[format]
    with pytest.raises(ModelError) as caught:
        export(capture(network(), (3, 4, 4)), (format,), tmp_path, parent="")
    line = network.forward.__code__.co_firstlineno + 1
    operator = f"{MISSING[network, format]} (test_bad_exports.py:{line})"
    assert caught.value.message == f"{title} export failed: {operator}: {why}"
    assert list(tmp_path.iterdir()) == []


def test_a_free_batch_is_refused_of_formats_that_answer_one_by_one() -> None:
    free = Interface(batch="free")
    with pytest.raises(RequestError) as caught:
        ask(nn.Linear(2, 2), find_target("x86-64"), budget=Budget(speedup=2), interface=free)
    assert caught.value.message == "--batch free: tflite files answer one input at a time"
    assert caught.value.hint == "leave --batch out, or name the formats that can: --format onnx"

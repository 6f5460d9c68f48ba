"""Quantizers `onnx-int8-weight-only` and `onnx-int4-weight-only`: small weights, float32 arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import first_line

_CHANNELS = {"Conv": 0, "ConvTranspose": 1}
"""Which axis of a weight counts the output channels; of Gemm and MatMul it depends on the node."""
_OPSET = 21
"""The first in which DequantizeLinear reads four-bit integers."""


@dataclass(frozen=True)
class OnnxInt8WeightOnly:
    """A quarter of the bytes; onnxruntime widens the weights at every answer."""

    format: Format = field(default="onnx", init=False)
    precision: Precision = field(default="int8-weight-only", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        _write(source, path, bits=8)


@dataclass(frozen=True)
class OnnxInt4WeightOnly:
    """An eighth of the bytes; onnxruntime widens the weights at every answer."""

    format: Format = field(default="onnx", init=False)
    precision: Precision = field(default="int4-weight-only", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        _write(source, path, bits=4)


def _write(source: Path, path: Path, *, bits: int) -> None:
    import onnx

    model = onnx.load(source)
    try:
        if bits == 4:
            model = onnx.version_converter.convert_version(model, _OPSET)
        _narrow_weights(model, bits)
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise ModelError(f"int{bits} weights in ONNX failed: {first_line(error)}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _narrow_weights(model: Any, bits: int) -> None:
    """Every weight of a layer as integers with a step per output channel, widened in front of the layer."""
    import onnx

    graph = model.graph
    tensors = {one.name: one for one in graph.initializer}
    done: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        axis = _channel_axis(node, tensors)
        if axis is not None:
            name = node.input[1]
            if name not in done:
                done[name] = f"{name}.widened"
                integers, steps = _integers(tensors[name], axis, bits)
                graph.initializer.extend([integers, steps])
                nodes.append(
                    onnx.helper.make_node(
                        "DequantizeLinear",
                        [integers.name, steps.name],
                        [done[name]],
                        name=f"{name}.widen",
                        axis=axis,
                    )
                )
            node.input[1] = done[name]
        nodes.append(node)
    kept = [one for one in graph.initializer if one.name not in done]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copies)
    graph.initializer.extend(kept)


def _channel_axis(node: Any, tensors: dict[str, Any]) -> int | None:
    """Where the output channels of a layer's constant weight are; None of what is no such layer."""
    if len(node.input) < 2 or node.input[1] not in tensors or len(tensors[node.input[1]].dims) < 2:
        return None
    if node.op_type == "Gemm":
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        return 0 if transposed else 1
    if node.op_type == "MatMul":
        return len(tensors[node.input[1]].dims) - 1
    return _CHANNELS.get(node.op_type)


def _integers(tensor: Any, axis: int, bits: int) -> tuple[Any, Any]:
    """The weight as integers, and the step of each channel."""
    import ml_dtypes
    import onnx

    values = onnx.numpy_helper.to_array(tensor)
    top = 2 ** (bits - 1) - 1
    others = tuple(one for one in range(values.ndim) if one != axis)
    steps = np.maximum(np.abs(values).max(others, keepdims=True) / top, np.finfo(np.float32).tiny)
    integers = np.clip(np.rint(values / steps), -top, top).astype(np.int8)
    narrow = integers if bits == 8 else integers.astype(ml_dtypes.int4)
    return (
        onnx.numpy_helper.from_array(narrow, f"{tensor.name}.integers"),
        onnx.numpy_helper.from_array(steps.reshape(-1).astype(np.float32), f"{tensor.name}.steps"),
    )

"""Quantizers `onnx-int8-static` and `onnx-int8w-int16a`: integers with calibrated ranges, as QDQ nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.operator import Operator
from edgeprune.core.quiet import first_line, quiet
from edgeprune.core.ranges import Histogram, Range, chosen
from edgeprune.core.samples import Floats, singles

_ARITHMETIC = frozenset(
    """Add AveragePool BatchNormalization Clip Concat Conv ConvTranspose Gemm GlobalAveragePool
    InstanceNormalization LayerNormalization LeakyRelu MatMul Mul Relu Resize Sigmoid Softmax Where""".split()
)
"""Kinds that compute. Those that only move values (Reshape, MaxPool, ...) follow what they read."""


@dataclass(frozen=True)
class _Static:
    images: Annotated[int, Field(gt=0)] = 200
    per_channel: bool = True
    signed: bool = False
    symmetric: bool = False
    bits: int = field(default=8, init=False)
    """Of an activation."""
    format: Format = field(default="onnx", init=False)
    needs_data: bool = field(default=True, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[Floats]) -> None:
        """Write `path` with every operator in integers and min-max ranges."""
        self.quantize_within(source, path, chosen(self.observe(source, calibration), "min-max"))

    def operators(self, source: Path) -> list[Operator]:
        """The operators that compute in integers."""
        import onnx

        nodes = onnx.load(source).graph.node
        return [Operator(node.name, node.op_type) for node in nodes if node.op_type in _ARITHMETIC]

    def observe(self, source: Path, calibration: Iterable[Floats]) -> dict[str, Histogram]:
        """What each tensor was seen to be."""
        return _observed(source, singles(calibration, self.images))

    def quantize_within(
        self, source: Path, path: Path, ranges: Mapping[str, Range], floats: Collection[str] = ()
    ) -> None:
        """Write `path` with these ranges; the operators named in `floats` stay float32."""
        _write(
            source,
            path,
            ranges,
            floats,
            ("QInt" if self.signed else "QUInt") + str(self.bits),
            symmetric=self.symmetric,
            per_channel=self.per_channel,
        )


@dataclass(frozen=True)
class OnnxInt8Static(_Static):
    """Weights s8 per channel, activations u8, or s8 where the target's kernels want them `signed`.

    On x86-64 signed activations were slower than float32 (docs/decisions/0003-int8.md).
    """

    precision: Precision = field(default="int8-static", init=False)


@dataclass(frozen=True)
class OnnxInt8Int16(_Static):
    """Weights s8 per channel, activations s16: nearly float32's answers.

    onnxruntime has no integer kernels for it: it computes in float32, and the file is smaller, not faster.
    """

    signed: bool = field(default=True, init=False)
    symmetric: bool = field(default=True, init=False)
    bits: int = field(default=16, init=False)
    precision: Precision = field(default="int8w-int16a", init=False)


def _observed(source: Path, inputs: Iterable[Floats]) -> dict[str, Histogram]:
    """Run the float32 file with every tensor as an output, one image at a time: activations are large."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
    names = [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT]
    ends = [one.name for one in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    read = session.get_inputs()[0].name
    found = {name: Histogram() for name in (read, *ends, *names)}
    for one in inputs:
        values = session.run([*ends, *names], {read: one})
        for name, value in zip((read, *ends, *names), (one, *values), strict=True):
            found[name].add(value)
    return found


def _write(
    source: Path,
    path: Path,
    ranges: Mapping[str, Range],
    floats: Collection[str],
    activations: str,
    *,
    symmetric: bool,
    per_channel: bool,
) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, calibrate, qdq_quantizer, registry

    data = {
        name: calibrate.TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    try:
        with quiet():
            quantizer = qdq_quantizer.QDQQuantizer(
                onnx.load(source),
                per_channel,
                False,
                QuantType.QInt8,
                QuantType[activations],
                calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data),
                [],
                list(floats),
                [*registry.QLinearOpsRegistry, *registry.QDQRegistry],
                {"WeightSymmetric": True, "ActivationSymmetric": symmetric},
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(path))
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"int8 ONNX failed: {first_line(error)}") from error

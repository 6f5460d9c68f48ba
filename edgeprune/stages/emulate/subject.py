"""Subject: what a file is, read from the file itself: inputs, precision, steps of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.artifact import Artifact, Format, Precision, Tensor
from edgeprune.core.capsule import CapsuleRuntime
from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.quiet import first_line, quiet

RUNTIMES: dict[Format, CapsuleRuntime] = {"onnx": "onnxruntime", "tflite": "litert"}


@dataclass(frozen=True, slots=True)
class Subject:
    """One file; `step` is the scale of a quantized output, None where the output is computed in float.

    `float_operators` are the kinds of operators that an int8 file still computes in float.
    """

    path: Path
    artifact: Artifact
    step: float | None
    float_operators: tuple[str, ...]

    @property
    def runtime(self) -> CapsuleRuntime:
        """The runtime that runs such files."""
        return RUNTIMES[self.artifact.format]


def read_subject(path: Path) -> Subject:
    """Describe a file.

    Raises
    ------
    RequestError
        It is absent, or neither ONNX nor TFLite.
    DeviceError
        It cannot be read.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such file", hint="name ONNX or TFLite files, or a run folder")
    format = next((one for one in RUNTIMES if path.suffix == f".{one}"), None)
    if format is None:
        raise RequestError(
            f"{path}: not a file that boards run",
            hint=f"name {' or '.join(f'.{one}' for one in RUNTIMES)} files",
        )
    try:
        return _onnx(path) if format == "onnx" else _tflite(path)
    except Exception as error:  # protobuf and TFLite raise what they like for a damaged file
        raise DeviceError(f"{path}: cannot be read: {first_line(error)}") from error


def _onnx(path: Path) -> Subject:
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    entries = [one for one in graph.input if one.name not in constants]
    made = {name: node for node in graph.node for name in node.output}
    last = made.get(graph.output[0].name)
    step = None
    if last is not None and last.op_type == "DequantizeLinear" and last.input[1] in constants:
        step = float(onnx.numpy_helper.to_array(constants[last.input[1]]).max())
    precision = _onnx_precision(graph)
    floats = _onnx_floats(graph.node, made) if precision == "int8-static" else ()
    return Subject(
        path, _artifact(path, "onnx", precision, [_onnx_tensor(one) for one in entries]), step, floats
    )


def _onnx_precision(graph: Any) -> Precision:
    from onnx import TensorProto

    kinds = {node.op_type for node in graph.node}
    held = {one.data_type for one in graph.initializer}
    if kinds & {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}:
        return "int8-dynamic"
    if "QuantizeLinear" in kinds:
        return "int8w-int16a" if held & {TensorProto.INT16, TensorProto.UINT16} else "int8-static"
    if "MatMulNBits" in kinds or held & {TensorProto.INT4, TensorProto.UINT4}:
        return "int4-weight-only"
    if "DequantizeLinear" in kinds:
        return "int8-weight-only"
    return "fp16" if TensorProto.FLOAT16 in held else "fp32"


def _onnx_tensor(value: Any) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    sizes = tuple(one.dim_value or None for one in kind.shape.dim)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return Tensor(name=value.name, shape=sizes, dtype=dtype)


def _onnx_floats(nodes: Sequence[Any], made: dict[str, Any]) -> tuple[str, ...]:
    """Operators of which not every computed input was just dequantized: runtimes run those in float."""
    plain = {"QuantizeLinear", "DequantizeLinear", "Constant"}
    return tuple(
        sorted(
            {
                node.op_type
                for node in nodes
                if node.op_type not in plain
                and any(name in made and made[name].op_type not in plain for name in node.input)
            }
        )
    )


def _tflite(path: Path) -> Subject:
    with quiet():
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # Delegates would stand for the operators that they take over.
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
        tensors = {one["index"]: one for one in interpreter.get_tensor_details()}
        operators = interpreter._get_ops_details()
    entries = interpreter.get_input_details()
    end = interpreter.get_output_details()[0]["index"]
    last = next((one for one in operators if end in one["outputs"]), None)
    source = tensors[last["inputs"][0]] if last and last["op_name"] == "DEQUANTIZE" else tensors[end]
    step = float(source["quantization"][0]) or None
    made = {tensors[index]["dtype"] for one in operators for index in one["outputs"]}
    precision = _tflite_precision(made, {one["dtype"] for one in tensors.values()})
    floats = {
        one["op_name"]
        for one in operators
        if one["op_name"] not in {"QUANTIZE", "DEQUANTIZE"}
        and any(tensors[index]["dtype"] == np.float32 for index in one["outputs"])
    }
    described = [
        Tensor(
            name=one["name"],
            shape=tuple(int(size) for size in one["shape"]),
            dtype=np.dtype(one["dtype"]).name,
        )
        for one in entries
    ]
    artifact = _artifact(path, "tflite", precision, described)
    return Subject(path, artifact, step, tuple(sorted(floats)) if precision == "int8-static" else ())


def _tflite_precision(made: set[Any], held: set[Any]) -> Precision:
    """From the types that operators make, and those that tensors have; 4-bit weights are told as int8."""
    if np.int16 in made:
        return "int8w-int16a"
    if np.int8 in made:
        return "int8-static"
    if np.float16 in held:
        return "fp16"
    # Whether activations are quantized on the way is the kernel's own choice, so both names would be right.
    return "int8-dynamic" if np.int8 in held else "fp32"


def _artifact(path: Path, format: Format, precision: Precision, inputs: Sequence[Tensor]) -> Artifact:
    if len(inputs) != 1:
        raise RequestError(f"{path}: {len(inputs)} inputs; files with one are run", hint="name another file")
    described = Artifact.of_file(path, format=format, precision=precision, parent="", inputs=tuple(inputs))
    return described.model_copy(update={"path": str(path)})

"""Quantizers `tflite-int8-static` and `tflite-int8w-int16a`: integers with calibrated ranges."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.operator import Operator
from edgeprune.core.quiet import first_line, quiet
from edgeprune.core.ranges import Histogram, Range, chosen
from edgeprune.core.samples import Floats, singles

_MOVES = frozenset(
    """BROADCAST_TO CONCATENATION GATHER GATHER_ND MAX_POOL_2D MIRROR_PAD PACK PAD PADV2 RESHAPE
    SLICE SPACE_TO_DEPTH SPLIT STRIDED_SLICE TRANSPOSE UNPACK""".split()
)
"""Kinds that only move values: in integers where everything that they read is."""

_NEVER = frozenset({"DIV"})
"""Kinds that stay float32: a divisor near zero is zero in integers, and the file fails while it runs."""
_LAYERS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Kinds that read values, weights and a bias, and the axis of their weights that has a step per channel."""
_LARGEST_RATIO = 2**7
"""Of a product's step to its answer's: XNNPACK refuses 2^8 and more."""
_BIAS_LEVELS = 2**30
"""Steps that a bias may take: the other half of 32 bits is for the products that are added to it."""


@dataclass(frozen=True)
class _Static:
    images: Annotated[int, Field(gt=0)] = 200
    per_channel: bool = True
    format: Format = field(default="tflite", init=False)
    needs_data: bool = field(default=True, init=False)
    bits: int = field(default=8, init=False)
    """Of an activation."""

    def quantize(self, source: Path, path: Path, calibration: Iterable[Floats]) -> None:
        """Write `path` with every operator in integers and min-max ranges."""
        self.quantize_within(source, path, chosen(self.observe(source, calibration), "min-max"))

    def operators(self, source: Path) -> list[Operator]:
        """The operators that compute in integers."""
        found = _described(source)
        supported = _supported() - _MOVES - _NEVER
        return [one for one in found if one.kind in supported]

    def observe(self, source: Path, calibration: Iterable[Floats]) -> dict[str, Histogram]:
        """What each tensor was seen to be."""
        return _observed(source, singles(calibration, self.images))

    def quantize_within(
        self, source: Path, path: Path, ranges: Mapping[str, Range], floats: Collection[str] = ()
    ) -> None:
        """Write `path` with these ranges; the operators named in `floats` stay float32.

        Input and output of the file stay float32, so that callers change nothing.
        """
        never = [one.name for one in _described(source) if one.kind in _NEVER]
        _write(source, path, ranges, [*floats, *never], bits=self.bits, per_channel=self.per_channel)


@dataclass(frozen=True)
class TfliteInt8Static(_Static):
    """Weights and activations s8, weights per channel: XNNPACK's integer kernels."""

    precision: Precision = field(default="int8-static", init=False)


@dataclass(frozen=True)
class TfliteInt8Int16(_Static):
    """Weights s8 per channel, activations s16: nearly float32's answers.

    XNNPACK has no such kernels: the reference ones run, some twenty times slower than float32 here.
    """

    precision: Precision = field(default="int8w-int16a", init=False)
    bits: int = field(default=16, init=False)


def _described(source: Path) -> list[Operator]:
    with quiet():
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

        model = flatbuffers.read_model(str(source))
        (graph,) = model.subgraphs
        names = {code: str(name.value) for code, name in flatbuffers.TFL_OP_CODE_TO_NAME.items()}
        return [
            Operator(
                flatbuffers.get_op_scope(one, graph.tensors),
                names.get(model.operatorCodes[one.opcodeIndex].builtinCode, ""),
            )
            for one in graph.operators
        ]


def _followers(source: Path, floats: Collection[str]) -> list[str]:
    """Operators that only move values, and would take what stays float32 to integers for nothing.

    The input of the file counts as integers where nothing that reads it computes in float32.
    """
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

    (graph,) = flatbuffers.read_model(str(source)).subgraphs
    steps = list(zip(_described(source), graph.operators, strict=True))

    def read_as_float(places: set[int]) -> bool:
        for operator, step in steps:
            if places & set(step.inputs):
                if operator.name in floats:
                    return True
                if operator.kind in _MOVES:
                    places = places | set(step.outputs)
        return False

    integers = {place: not read_as_float({place}) for place in graph.inputs}
    found = []
    for operator, step in steps:
        whole = all(integers.get(place, True) for place in step.inputs)  # others are constants
        if operator.kind in _MOVES and not whole:
            found.append(operator.name)
        computed = whole if operator.kind in _MOVES else operator.name not in floats
        integers |= dict.fromkeys(step.outputs, computed)
    return found


def _supported() -> set[str]:
    from ai_edge_quantizer import qtyping

    return {one.value for one in qtyping.TFLOperationName} - {"*", "INPUT", "OUTPUT"}


def _observed(source: Path, inputs: Iterable[Floats]) -> dict[str, Histogram]:
    """Run the float32 file with every tensor kept; constants are no activations."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(str(source), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    computed = _computed(source)
    details = [one for one in interpreter.get_tensor_details() if one["name"] in computed]
    read = interpreter.get_input_details()[0]["index"]
    found = {one["name"]: Histogram() for one in details if one["dtype"] is np.float32}
    for one in inputs:
        interpreter.set_tensor(read, one)
        interpreter.invoke()
        for detail in details:
            if detail["name"] in found:
                found[detail["name"]].add(interpreter.get_tensor(detail["index"]))
    return found


def _computed(source: Path) -> set[str]:
    """Names of the tensors that are no constants: the file's inputs and what its operators answer."""
    with quiet():
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

        (graph,) = flatbuffers.read_model(str(source)).subgraphs
    places = [*graph.inputs, *(place for one in graph.operators for place in one.outputs)]
    return {graph.tensors[place].name.decode() for place in places}


def _write(
    source: Path,
    path: Path,
    ranges: Mapping[str, Range],
    floats: Collection[str],
    *,
    bits: int,
    per_channel: bool,
) -> None:
    try:
        with quiet():
            from ai_edge_quantizer import qtyping
            from ai_edge_quantizer.algorithm_manager import AlgorithmName
            from ai_edge_quantizer.quantizer import Quantizer

            quantizer = Quantizer(str(source))
            quantizer.add_static_config(
                regex=".*",
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                activation_num_bits=bits,
                weight_num_bits=8,
                weight_granularity=qtyping.QuantGranularity.CHANNELWISE
                if per_channel
                else qtyping.QuantGranularity.TENSORWISE,
            )
            for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                quantizer.update_quantization_recipe(
                    regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE
                )
            for name in [*floats, *_followers(source, floats)]:
                quantizer.update_quantization_recipe(
                    regex=f"^{re.escape(name)}$",
                    operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                    algorithm_key=AlgorithmName.NO_QUANTIZE,
                )
            ranges = _answers_wide_enough(source, ranges, bits=bits)
            statistics = _statistics(source, ranges)
            statistics |= _weights_wide_enough(source, ranges, bits=bits, per_channel=per_channel)
            result = quantizer.quantize(statistics, enable_progress_report=False)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"int8 TFLite failed: {first_line(error)}") from error
    path.write_bytes(bytes(result.quantized_model))


def _statistics(source: Path, ranges: Mapping[str, Range]) -> dict[str, dict[str, Any]]:
    """Ranges in the shape that the quantizer keeps them in: one axis of one for each of the tensor's."""
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

    (graph,) = flatbuffers.read_model(str(source)).subgraphs
    axes = {one.name.decode(): len(one.shape) for one in graph.tensors}
    return {
        name: {
            "min": np.full((1,) * axes[name], low, np.float32),
            "max": np.full((1,) * axes[name], high, np.float32),
        }
        for name, (low, high) in ranges.items()
    }


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer with constant weights: what it reads and answers by name, its constants as arrays."""

    kind: str
    read: str
    weight: str
    answer: str
    values: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def _layers(source: Path) -> list[_Layer]:
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

    model = flatbuffers.read_model(str(source))
    (graph,) = model.subgraphs
    found = []
    for operator, step in zip(_described(source), graph.operators, strict=True):
        if operator.kind not in _LAYERS:
            continue
        read, weight, *biases = (graph.tensors[place] for place in step.inputs[:3] if place >= 0)
        values, *constants = (flatbuffers.get_tensor_data(one, model.buffers) for one in (weight, *biases))
        if values is not None:
            names = [one.name.decode() for one in (read, weight, graph.tensors[step.outputs[0]])]
            bias = constants[0] if constants else None
            found.append(_Layer(operator.kind, names[0], names[1], names[2], values, bias))
    return found


def _answers_wide_enough(source: Path, ranges: Mapping[str, Range], *, bits: int) -> dict[str, Range]:
    """Ranges with which a layer's answers, counted in steps of its products, are not more than kernels take.

    A layer that answered all calibration images with zero has a range of nothing, and XNNPACK would refuse
    the file (a squeeze of RegNet-Y).
    """
    found = dict(ranges)
    for layer in _layers(source):
        if layer.read not in found or layer.answer not in found:
            continue
        largest = float(np.abs(layer.values).max())
        least = _step(found[layer.read], bits) * largest / 127 / _LARGEST_RATIO
        low, _ = found[layer.answer]
        if _step(found[layer.answer], bits) < least:
            found[layer.answer] = (low, low + least * (2**bits - 1))
    return found


def _weights_wide_enough(
    source: Path, ranges: Mapping[str, Range], *, bits: int, per_channel: bool
) -> dict[str, dict[str, Any]]:
    """Ranges of weights, for layers whose biases would not fit 32 bits with ranges of the weights' own.

    A bias is counted in steps of the input times steps of the weights. Where both are tiny it does not fit,
    the quantizer clips it without a word, and the layer answers with noise. onnxruntime's quantizer widens
    the weights' step then, and so does this: next to such a bias the weights hardly count.
    """
    ends: dict[str, NDArray[np.float32]] = {}
    for layer in _layers(source):
        if layer.bias is None or layer.read not in ranges:
            continue
        steps = np.abs(layer.bias) / (_BIAS_LEVELS * _step(ranges[layer.read], bits))
        others = {*np.arange(layer.values.ndim)} - ({_LAYERS[layer.kind]} if per_channel else set())
        largest = np.abs(layer.values).max(tuple(others), keepdims=True)
        wide = np.maximum(largest, 127 * (steps if per_channel else steps.max()).reshape(largest.shape))
        if (wide > largest).any():  # weights that several layers read have one range for all of them
            ends[layer.weight] = np.maximum(wide, ends.get(layer.weight, 0)).astype(np.float32)
    return {name: {"min": -end, "max": end} for name, end in ends.items()}


def _step(range: Range, bits: int) -> float:
    """Between two values of an activation: more than 8 bits lie symmetrically around zero."""
    low, high = range
    width = high - low if bits == 8 else 2 * max(-low, high)
    return float(max(width, 1e-9) / (2**bits - 1))

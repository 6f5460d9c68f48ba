"""Quantizer `onnx-fp16`: half-precision weights and arithmetic, float32 input and output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import quiet

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class OnnxFp16:
    """Half the bytes; faster only where the core has half-precision arithmetic."""

    format: Format = field(default="onnx", init=False)
    precision: Precision = field(default="fp16", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = onnx.load(source)
        _require_range(model)
        with quiet():
            half = convert_float_to_float16(model, keep_io_types=True)
        _sort(half.graph)
        onnx.checker.check_model(half, full_check=True)
        path.write_bytes(half.SerializeToString(deterministic=True))


def _require_range(model: Any) -> None:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and np.abs(values).max(initial=0) > _LARGEST:
            raise ModelError(
                f"weight '{tensor.name}' reaches {np.abs(values).max():.3g}, beyond fp16's {_LARGEST:.5g}",
                hint="leave fp16 out for this model",
            )


def _sort(graph: Any) -> None:
    """The converter appends its input cast at the end, an order the checker rejects."""
    known = {"", *(value.name for value in [*graph.input, *graph.initializer])}
    waiting, sorted_nodes = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, "the graph has a cycle"
        known.update(name for node in ready for name in node.output)
        sorted_nodes += ready
        waiting = [node for node in waiting if not any(node is one for one in ready)]
    copies = [type(node).FromString(node.SerializeToString()) for node in sorted_nodes]
    del graph.node[:]
    graph.node.extend(copies)

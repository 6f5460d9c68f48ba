"""Quantizers `tflite-int8-weight-only` and `tflite-int4-weight-only`: small weights, float32 arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import first_line, quiet


@dataclass(frozen=True)
class TfliteInt8WeightOnly:
    """A quarter of the bytes; LiteRT widens the weights when it loads the file."""

    format: Format = field(default="tflite", init=False)
    precision: Precision = field(default="int8-weight-only", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        _write(source, path, bits=8)


@dataclass(frozen=True)
class TfliteInt4WeightOnly:
    """A sixth of the bytes: depthwise convolutions keep float32 weights. LiteRT widens at every answer."""

    format: Format = field(default="tflite", init=False)
    precision: Precision = field(default="int4-weight-only", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        _write(source, path, bits=4)


def _write(source: Path, path: Path, *, bits: int) -> None:
    try:
        with quiet():
            from ai_edge_quantizer import qtyping
            from ai_edge_quantizer.quantizer import Quantizer

            quantizer = Quantizer(str(source))
            quantizer.add_weight_only_config(
                regex=".*", operation_name=qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=bits
            )
            result = quantizer.quantize(enable_progress_report=False)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"int{bits} weights in TFLite failed: {first_line(error)}") from error
    path.write_bytes(bytes(result.quantized_model))

"""Quantizer `onnx-int8-dynamic`: int8 weights, activation ranges taken while running; needs no data."""

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
class OnnxInt8Dynamic:
    """Smaller, and on convolutions slower than float32: ranges are measured at every inference."""

    format: Format = field(default="onnx", init=False)
    precision: Precision = field(default="int8-dynamic", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        from onnxruntime import quantization

        try:
            with quiet():
                quantization.quantize_dynamic(source, path, weight_type=quantization.QuantType.QUInt8)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ModelError(f"dynamic int8 ONNX failed: {first_line(error)}") from error

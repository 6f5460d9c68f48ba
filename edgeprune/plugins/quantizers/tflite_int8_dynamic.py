"""Quantizer `tflite-int8-dynamic`: int8 weights, activation ranges taken while running; needs no data."""

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
class TfliteInt8Dynamic:
    """Depthwise convolutions keep float arithmetic.

    XNNPACK has no hybrid kernel for them, and the reference kernel made MobileNetV2 slower than
    float32 here.
    """

    format: Format = field(default="tflite", init=False)
    precision: Precision = field(default="int8-dynamic", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        try:
            with quiet():
                from ai_edge_quantizer import qtyping, recipe
                from ai_edge_quantizer.quantizer import Quantizer

                quantizer = Quantizer(str(source))
                quantizer.load_quantization_recipe(recipe.dynamic_wi8_afp32())
                quantizer.add_weight_only_config(
                    regex=".*",
                    operation_name=qtyping.TFLOperationName.DEPTHWISE_CONV_2D,
                    num_bits=8,
                )
                result = quantizer.quantize(enable_progress_report=False)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"dynamic int8 TFLite failed: {first_line(error)}") from error
        path.write_bytes(bytes(result.quantized_model))

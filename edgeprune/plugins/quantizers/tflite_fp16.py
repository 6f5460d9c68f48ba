"""Quantizer `tflite-fp16`: half-precision weights, float32 arithmetic, input and output."""

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
class TfliteFp16:
    """Half the bytes; weights are widened when the file is loaded."""

    format: Format = field(default="tflite", init=False)
    precision: Precision = field(default="fp16", init=False)
    needs_data: bool = field(default=False, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        try:
            with quiet():
                from ai_edge_quantizer import qtyping
                from ai_edge_quantizer.algorithm_manager import AlgorithmName
                from ai_edge_quantizer.quantizer import Quantizer

                half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
                quantizer = Quantizer(str(source))
                quantizer.update_quantization_recipe(
                    regex=".*",
                    operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                    op_config=qtyping.OpQuantizationConfig(
                        weight_tensor_config=half,
                        compute_precision=qtyping.ComputePrecision.FLOAT,
                        explicit_dequantize=True,
                    ),
                    algorithm_key=AlgorithmName.FLOAT_CASTING,
                )
                result = quantizer.quantize(enable_progress_report=False)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"fp16 TFLite failed: {first_line(error)}") from error
        path.write_bytes(bytes(result.quantized_model))

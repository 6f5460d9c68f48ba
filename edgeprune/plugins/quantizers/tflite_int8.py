"""Quantizer `tflite-int8`: static int8 by ai-edge-quantizer's static_wi8_ai8, float32 input and output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import first_line, quiet


@dataclass(frozen=True)
class TfliteInt8:
    """Weights per channel; inputs and outputs stay float32, so that callers change nothing."""

    images: Annotated[int, Field(gt=0)] = 200
    format: Format = field(default="tflite", init=False)
    precision: Precision = field(default="int8", init=False)
    needs_data: bool = field(default=True, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        try:
            with quiet():
                from ai_edge_quantizer import qtyping, recipe
                from ai_edge_quantizer.algorithm_manager import AlgorithmName
                from ai_edge_quantizer.quantizer import Quantizer

                quantizer = Quantizer(str(source))
                quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
                for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
                    quantizer.update_quantization_recipe(
                        regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE
                    )
                samples = _samples(source, calibration, self.images)
                ranges = quantizer.calibrate(samples, num_threads=1)
                result = quantizer.quantize(ranges, enable_progress_report=False)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"int8 TFLite failed: {first_line(error)}") from error
        path.write_bytes(bytes(result.quantized_model))


def _samples(
    source: Path, calibration: Iterable[NDArray[np.float32]], images: int
) -> dict[str, list[dict[str, Any]]]:
    """Single inputs under the names the file's signature gives them."""
    from ai_edge_litert.interpreter import Interpreter

    ((signature, names),) = Interpreter(str(source)).get_signature_list().items()
    return {signature: [{names["inputs"][0]: one} for one in _singles(calibration, images)]}


def _singles(batches: Iterable[NDArray[np.float32]], images: int) -> Iterator[NDArray[np.float32]]:
    for batch in batches:
        for place in range(min(len(batch), images)):
            yield batch[place : place + 1]
        images -= len(batch)
        if images <= 0:
            return

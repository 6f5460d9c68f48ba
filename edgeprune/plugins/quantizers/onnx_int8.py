"""Quantizer `onnx-int8`: static int8 as QDQ nodes, weights per channel, unsigned activations."""

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

_IMAGES_AT_ONCE = 10
"""The calibrator keeps every activation of a batch: small batches keep memory low."""


@dataclass(frozen=True)
class OnnxInt8:
    """Activations u8, weights s8: on x86-64 signed activations were slower than float32.

    Min-max ranges over 200 images: more images and other methods changed ResNet-56's accuracy by
    less than its interval (docs/decisions/0003-int8.md).
    """

    images: Annotated[int, Field(gt=0)] = 200
    format: Format = field(default="onnx", init=False)
    precision: Precision = field(default="int8", init=False)
    needs_data: bool = field(default=True, init=False)

    def quantize(self, source: Path, path: Path, calibration: Iterable[NDArray[np.float32]]) -> None:
        """Write `path`."""
        from onnxruntime import quantization

        try:
            with quiet():
                quantization.quantize_static(
                    source,
                    path,
                    _Reader(calibration, self.images),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.MinMax,
                    extra_options={"WeightSymmetric": True},
                )
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ModelError(f"int8 ONNX failed: {first_line(error)}") from error


class _Reader:
    """Hands the calibrator a few images at a time, as its interface asks."""

    def __init__(self, batches: Iterable[NDArray[np.float32]], images: int) -> None:
        self._inputs = _few(batches, images)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._inputs, None)
        return None if batch is None else {"input": batch}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise AssertionError("only strided calibration asks for ranges")


def _few(batches: Iterable[NDArray[np.float32]], images: int) -> Iterator[NDArray[np.float32]]:
    for batch in batches:
        for start in range(0, min(len(batch), images), _IMAGES_AT_ONCE):
            yield batch[start : min(start + _IMAGES_AT_ONCE, images)]
        images -= len(batch)
        if images <= 0:
            return

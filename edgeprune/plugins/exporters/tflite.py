"""Exporter `tflite`: float32 TFLite for a batch of one, written by litert-torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.quiet import first_line, quiet

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Tflite:
    """`formats = ["tflite"]`: inputs keep PyTorch's channel order (NCHW).

    The batch is one: the converter bakes it into slices and reshapes, and an interpreter resized to
    a larger batch would answer wrongly without an error.
    """

    format: Format = field(default="tflite", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        try:
            with quiet():
                import litert_torch
        except ImportError as error:
            raise PluginError(
                f"TFLite export needs litert-torch: {first_line(error)}",
                hint="it is published for Linux only; leave this format out with --format onnx",
            ) from error
        try:
            with quiet():
                content = litert_torch.convert(program.module(), (example[:1].contiguous(),)).model_content()
        except Exception as error:  # the converter passes on errors of torch, JAX and MLIR
            raise ModelError(
                f"TFLite export failed: {first_line(error)}",
                hint="replace the operator it names, or leave this format out with --format onnx",
            ) from error
        # Not by the converter's own `export`: it ends the whole process when the disk is full.
        path.write_bytes(content)

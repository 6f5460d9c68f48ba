"""Exporter `tflite`: float32 TFLite for a batch of one, written by litert-torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.quiet import first_line, quiet
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.signed import signed
from edgeprune.graph.single_file import require_single_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Tflite:
    """`formats = ["tflite"]`: inputs keep PyTorch's channel order (NCHW) unless `--layout nhwc`.

    The batch is one: the converter bakes it into slices and reshapes, and an interpreter resized to
    a larger batch would answer wrongly without an error. The signature's names are `input` and, filled
    by a run, `outputs`.
    """

    outputs: tuple[str, ...] = ("output",)
    format: Format = field(default="tflite", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        require_single_file(program.state_dict.values(), "TFLite")
        try:
            with quiet():
                import litert_torch  # noqa: F401 - asked before an hour of converting
        except ImportError as error:
            raise PluginError(
                f"TFLite export needs litert-torch: {first_line(error)}",
                hint="it is published for Linux only; leave this format out with --format onnx",
            ) from error
        single = example[:1].contiguous()
        try:
            content = self._convert(program, single)
        except Exception as error:  # the converter passes on errors of torch, JAX and MLIR
            part = Tflite(outputs=("output",))
            where = culprit(program, single, error, lambda program: part._convert(program, single))
            raise ModelError(
                f"TFLite export failed: {where or reason(error)}"
                + (": the converter has no operator for it" if where else ""),
                hint="replace this operator, or leave the format out: --format onnx",
            ) from error
        # Not by the converter's own `export`: it ends the whole process when the disk is full.
        path.write_bytes(content)

    def _convert(self, program: ExportedProgram, single: Tensor) -> bytes:
        import litert_torch

        with quiet():
            module = signed(program, self.outputs)
            converted = litert_torch.convert(module, sample_kwargs={"input": single})
            return bytes(converted.model_content())

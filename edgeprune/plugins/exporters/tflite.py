"""Exporter `tflite`: float32 TFLite for a batch of one, written by litert-torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.quiet import first_line, quiet
from edgeprune.core.tflite_model import operator_kind, packed, unpacked
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.gathered import gathered
from edgeprune.graph.signed import signed, unlifted
from edgeprune.graph.single_file import require_single_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

_LAYERS = {"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}
"""Kinds whose third input is a bias."""


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
            module = signed(gathered(unlifted(program)), self.outputs)
            converted = litert_torch.convert(module, sample_kwargs={"input": single})
            return _with_flat_biases(bytes(converted.model_content()))


def _with_flat_biases(content: bytes) -> bytes:
    """The file with biases of one axis.

    The converter also folds additions of shape (1, 1, 1, n) into linear layers (ConvNeXt). Floats are added
    alike, but steps per channel lie along the first axis, and the runtime refused the integer file.
    """
    model = unpacked(content)
    biases = [bias for bias in _biases(model) if len(bias.shape) > 1]
    for bias in biases:
        bias.shape = np.array([np.prod(bias.shape)], np.int32)
    return packed(model) if biases else content


def _biases(model: Any) -> Iterator[Any]:
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator_kind(model, operator) in _LAYERS and len(operator.inputs) > 2:
                yield from (graph.tensors[place] for place in operator.inputs[2:3] if place >= 0)

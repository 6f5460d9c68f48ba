"""Exporter `onnx`: float32 ONNX with a free batch axis, written by torch's own exporter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import first_line, quiet

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Onnx:
    """`formats = ["onnx"]`: batch norms folded, input `input`, output `output`, no paths of yours."""

    # The oldest version the exporter writes without converting: old runtimes on boards read it.
    opset: int = 18
    format: Format = field(default="onnx", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        import onnx
        import torch

        try:
            with quiet():
                written = torch.onnx.export(
                    program,
                    (example,),
                    dynamo=True,
                    verbose=False,
                    input_names=["input"],
                    output_names=["output"],
                    opset_version=self.opset,
                    optimize=True,
                )
        except Exception as error:  # the exporter wraps whatever went wrong in types of its own
            raise ModelError(
                f"ONNX export failed: {first_line(error)}",
                hint="replace the operator it names, or leave this format out with --format tflite",
            ) from error
        assert written is not None
        model = written.model_proto
        _name_batch(model)
        _strip(model)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _name_batch(model: Any) -> None:
    for value in [*model.graph.input, *model.graph.output]:
        axis = value.type.tensor_type.shape.dim[0]
        if axis.dim_param:
            axis.dim_param = "batch"


def _strip(model: Any) -> None:
    """Stack traces and doc strings name folders of the machine the file was made on."""
    pending = [model.graph]
    model.ClearField("metadata_props")
    while pending:
        graph = pending.pop()
        graph.ClearField("metadata_props")
        graph.ClearField("value_info")
        graph.doc_string = ""
        for item in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
            item.ClearField("metadata_props")
            item.doc_string = ""
        pending += [
            attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")
        ]

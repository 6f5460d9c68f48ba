"""Exporter `onnx`: float32 ONNX, optimised, with names that lead back to the network's modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import quiet
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.single import single
from edgeprune.graph.single_file import require_single_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

# The oldest version the exporter writes without converting: old runtimes on boards read it.
_OPSET = 18
_READ_SINCE = (1, 14)
"""The first onnxruntime that reads it (https://onnxruntime.ai/docs/reference/compatibility.html)."""


@dataclass(frozen=True)
class Onnx:
    """`formats = ["onnx"]`: batch norms folded, input `input`, output `output`, no paths of yours.

    A run fills `runtime_version` from the target, `free_batch` and `outputs` from the interface.
    """

    opset: Annotated[int, Field(gt=0)] = _OPSET
    runtime_version: str = ""
    free_batch: bool = True
    outputs: tuple[str, ...] = ("output",)
    format: Format = field(default="onnx", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        import onnx

        require_single_file(program.state_dict.values(), "ONNX")
        _require_readable(self.opset, self.runtime_version)
        if not self.free_batch:
            program, example = single(program, example)
        try:
            model = self._convert(program, example)
        except Exception as error:  # the exporter wraps whatever went wrong in types of its own
            where = culprit(program, example, error, lambda part: self._convert(part, example))
            raise ModelError(
                f"ONNX export failed: {where or reason(error)}"
                + (": ONNX has no operator for it" if where else ""),
                hint="replace this operator, or leave the format out: --format tflite",
            ) from error
        _require_opset(model, self.opset)
        _name_batch(model)
        _rename(model.graph)
        _strip(model)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _convert(self, program: ExportedProgram, example: Tensor) -> Any:
        import torch

        with quiet():
            written = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=list(self.outputs),
                opset_version=self.opset,
                optimize=True,
            )
        assert written is not None
        return written.model_proto


def _require_readable(opset: int, runtime_version: str) -> None:
    match = re.match(r"(\d+)\.(\d+)", runtime_version)
    if match and opset >= _OPSET and (int(match[1]), int(match[2])) < _READ_SINCE:
        raise ModelError(
            f"ONNX export failed: the target's onnxruntime {runtime_version} does not read opset {opset}",
            hint="bring onnxruntime 1.14 or newer to the device, or leave the format out: --format tflite",
        )


def _require_opset(model: Any, opset: int) -> None:
    """The exporter falls back to the opset it knows, with a warning only."""
    written = next(one.version for one in model.opset_import if not one.domain)
    if written != opset:
        raise ModelError(
            f"ONNX export failed: the network cannot be written in opset {opset}, only in {written}",
            hint=f"ask for opset {written}, or a newer one",
        )


# Names


def _name_batch(model: Any) -> None:
    for value in [*model.graph.input, *model.graph.output]:
        axis = value.type.tensor_type.shape.dim[0]
        if axis.dim_param:
            axis.dim_param = "batch"


def _rename(graph: Any) -> None:
    """Nodes and values after the module that computes them: `layer1.0.conv1`, `layer1.0.add`."""
    stored = {one.name for one in graph.initializer}
    taken = {one.name for one in [*graph.input, *graph.output, *graph.initializer]}
    ends = {one.name for one in graph.output}
    renamed: dict[str, str] = {}
    for node in graph.node:
        node.name = _unused(_module_path(node, stored), taken)
        for place, name in enumerate(node.output):
            if name and name not in ends:
                renamed[name] = node.name if place == 0 else f"{node.name}:{place}"
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = renamed.get(name, name)


def _module_path(node: Any, stored: Iterable[str]) -> str:
    """The path of the module that owns the node's weight, or in which it was called, with its operator."""
    for name in node.input[1:2]:
        if name in stored and name.endswith(".weight"):
            return str(name.removesuffix(".weight"))
    noted = {one.key: one.value for one in node.metadata_props}
    scopes = ast.literal_eval(noted.get("pkg.torch.onnx.name_scopes", "[]"))
    module = scopes[-2] if len(scopes) > 1 and not scopes[-2].startswith("_") else ""
    operator = node.op_type.lower()
    own = module.rpartition(".")[2].rstrip("0123456789_")
    return module if module and own == operator else f"{module}.{operator}".lstrip(".")


def _unused(name: str, taken: set[str]) -> str:
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    taken.add(free)
    return free


def _strip(model: Any) -> None:
    """Stack traces and doc strings name folders of the machine the file was made on."""
    model.ClearField("metadata_props")
    pending = [model.graph]
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

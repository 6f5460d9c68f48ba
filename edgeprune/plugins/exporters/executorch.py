"""Exporter `executorch`: ExecuTorch's `.pte` for a batch of one, lowered to XNNPACK."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.quiet import first_line, quiet
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.single import single

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class ExecuTorch:
    """`formats = ["executorch"]`, `runtimes.executorch = "executorch"`; needs `edgeprune[executorch]`.

    What XNNPACK has no kernel for runs in ExecuTorch's portable ones.
    """

    suffix: str = field(default="pte", init=False)
    format: Format = field(default="executorch", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        try:
            with quiet():
                from executorch import exir  # noqa: F401 - asked before an hour of converting
        except ImportError as error:
            raise PluginError(
                f"ExecuTorch export needs executorch: {first_line(error)}",
                hint="pip install 'edgeprune[executorch]'",
            ) from error
        fixed, one = single(program, example)
        try:
            content = _lowered(fixed)
        except Exception as error:  # the lowering passes on errors of torch and of its own
            where = culprit(fixed, one, error, _lowered)
            raise ModelError(
                f"ExecuTorch export failed: {where or reason(error)}",
                hint="replace this operator, or leave the format out: --format onnx",
            ) from error
        path.write_bytes(content)


def _lowered(program: ExportedProgram) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet():
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)

"""Exporter `openvino`: OpenVINO's IR, its two files in one zip archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.packed import pack
from edgeprune.core.quiet import quiet
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.single import single

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class OpenVino:
    """`formats = ["openvino"]`, `runtimes.openvino = "openvino"`; needs `pip install 'edgeprune[openvino]'`.

    Float32, as every export: the converter's own halving of weights is left out.
    """

    # Filled by a run.
    free_batch: bool = True
    suffix: str = field(default="openvino.zip", init=False)
    format: Format = field(default="openvino", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        try:
            import openvino
        except ImportError as error:
            raise PluginError(
                "OpenVINO export needs openvino", hint="pip install 'edgeprune[openvino]'"
            ) from error
        if not self.free_batch:
            program, example = single(program, example)
        try:
            model = _converted(program)
        except Exception as error:  # the converter's errors share no base but Exception
            where = culprit(program, example, error, _converted)
            raise ModelError(
                f"OpenVINO export failed: {where or reason(error)}",
                hint="replace this operator, or leave the format out: --format onnx",
            ) from error
        # A trace leaves all sizes open, the batch among them.
        model.reshape([-1 if self.free_batch else 1, *example.shape[1:]])
        with TemporaryDirectory(prefix="edgeprune-") as folder:
            with quiet():
                openvino.save_model(model, Path(folder, "model.xml"), compress_to_fp16=False)
            pack(path, {name: Path(folder, name).read_bytes() for name in ("model.xml", "model.bin")})


def _converted(program: ExportedProgram) -> Any:
    import openvino

    with quiet():
        return openvino.convert_model(program)

"""Exporter `ncnn`: ncnn's two files in one zip archive, converted by pnnx from a trace."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from edgeprune.core.artifact import Format
from edgeprune.core.errors import ModelError, PluginError
from edgeprune.core.packed import pack
from edgeprune.core.quiet import quiet
from edgeprune.graph.single import single

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

_SECONDS = 600
_LAYERS = "model.ncnn.param"


@dataclass(frozen=True)
class Ncnn:
    """`formats = ["ncnn"]`, `runtimes.ncnn = "ncnn"`; needs `pip install 'edgeprune[ncnn]'`.

    One input at a time; ends are called `in0` and `out0`, as pnnx calls them. Float32.
    """

    suffix: str = field(default="ncnn.zip", init=False)
    format: Format = field(default="ncnn", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        import torch

        converter = _converter()
        fixed, one = single(program, example)
        with TemporaryDirectory(prefix="edgeprune-") as folder:
            with quiet(), torch.no_grad():
                module = fixed.module(check_guards=False)
                torch.jit.trace(module, one, check_trace=False).save(  # type: ignore[no-untyped-call]
                    str(Path(folder, "model.pt"))
                )
            kind = "u8" if one.dtype == torch.uint8 else "f32"
            shape = f"inputshape=[{','.join(map(str, one.shape))}]{kind}"
            done = subprocess.run(
                [converter, "model.pt", shape, "fp16=0"],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
            layers = Path(folder, _LAYERS)
            if done.returncode or not layers.exists():
                said = (done.stderr or done.stdout).strip().splitlines()
                raise ModelError(
                    f"ncnn export failed: pnnx: {said[-1] if said else f'code {done.returncode}'}"
                )
            _require_known(layers.read_text())
            pack(path, {name: Path(folder, name).read_bytes() for name in (_LAYERS, "model.ncnn.bin")})


def _converter() -> str:
    try:
        import pnnx
    except ImportError as error:
        raise PluginError("ncnn export needs pnnx", hint="pip install 'edgeprune[ncnn]'") from error
    return str(pnnx.EXEC_PATH)


def _require_known(layers: str) -> None:
    """The converter writes what it does not know under its PyTorch name, which no ncnn reads."""
    kinds = dict.fromkeys(line.split()[0] for line in layers.splitlines()[2:] if line.strip())
    unknown = [kind for kind in kinds if "." in kind or "::" in kind]
    if unknown:
        raise ModelError(
            f"ncnn export failed: ncnn has no layer for {', '.join(unknown)}",
            hint="replace this operator, or leave the format out: --format onnx",
        )

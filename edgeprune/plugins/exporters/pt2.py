"""Exporter `pt2`: the captured program itself, for machines that run PyTorch."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.artifact import Format
from edgeprune.graph.capture import without_sources

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class Pt2:
    """`formats = ["pt2"]`: the file is `model.fp32.pt2`, beside the shrunk network's `model.pt2`."""

    # Filled by a run; the batch of an archive is free unless it was asked to be one.
    free_batch: bool = True
    format: Format = field(default="pt2", init=False)

    def export(self, program: ExportedProgram, example: Tensor, path: Path) -> None:
        """Write `path`."""
        import torch

        module, single = program.module(check_guards=False), example[:1].contiguous()
        shapes = ({0: torch.export.Dim("batch", min=1)},) if self.free_batch else None
        kept = torch.export.export(module, (example if self.free_batch else single,), dynamic_shapes=shapes)
        buffer = io.BytesIO()
        torch.export.save(without_sources(kept), buffer)
        path.write_bytes(buffer.getbuffer())

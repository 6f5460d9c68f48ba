"""Single: a program for one input at a time, for formats whose files know no other batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.export import ExportedProgram


def single(program: ExportedProgram, example: Tensor) -> tuple[ExportedProgram, Tensor]:
    """The program with the batch axis fixed at one, and the first of the examples."""
    one = example[:1].contiguous()
    return torch.export.export(program.module(check_guards=False), (one,)), one

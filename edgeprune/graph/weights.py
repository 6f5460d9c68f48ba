"""Weights: the values of a program's tensors, taken aside and put back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgeprune.graph.capture import Program


def copied(program: Program) -> dict[str, Tensor]:
    """Copies of all tensors, by name."""
    return {name: tensor.detach().clone() for name, tensor in program.tensors().items()}


def write(program: Program, values: Mapping[str, Tensor]) -> None:
    """Put values into the tensors of these names, in place; the others stay."""
    tensors = program.tensors()
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)

"""Signed: a program whose input and outputs have names, for formats that keep a signature."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.export import ExportedProgram


def signed(program: ExportedProgram, outputs: Sequence[str]) -> nn.Module:
    """A module that takes `input=` and answers with a dictionary."""
    return _Signed(program.module(check_guards=False), outputs)


class _Signed(nn.Module):
    def __init__(self, network: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self._outputs = network, tuple(outputs)
        # The graph module inside refuses eval(), and is in evaluation mode as it is.
        for part in self.modules():
            part.training = False

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        found = self.network(input)
        several = found if isinstance(found, (tuple, list)) else (found,)
        return dict(zip(self._outputs, several, strict=True))

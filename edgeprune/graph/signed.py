"""Signed: a program whose input and outputs have names, for formats that keep a signature."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter
from torch.fx.traceback import preserve_node_meta


def unlifted(program: ExportedProgram) -> GraphModule:
    """A fresh module whose graph reads its own parameters."""
    network = program.module(check_guards=False)
    assert isinstance(network, GraphModule)
    return network


def signed(network: GraphModule, outputs: Sequence[str]) -> nn.Module:
    """A module that takes `input=` and answers with a dictionary."""
    return _Signed(network, outputs)


class _Signed(nn.Module):
    def __init__(self, network: GraphModule, outputs: Sequence[str]) -> None:
        super().__init__()
        self.network, self._outputs = network, tuple(outputs)
        # The graph module inside refuses eval(), and is in evaluation mode as it is.
        for part in self.modules():
            part.training = False

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        # By the interpreter, so that every operator keeps the path of the module it came from.
        with preserve_node_meta():
            found = Interpreter(self.network).run(input)
        several = found if isinstance(found, (tuple, list)) else (found,)
        return dict(zip(self._outputs, several, strict=True))

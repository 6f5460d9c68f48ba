"""A program that is taken to a device computes there, constants it creates included."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeprune.graph.capture import capture
from edgeprune.graph.device import has_bfloat16, move, placed


class Creates(nn.Module):
    """Reads a constant that is no buffer, and makes one in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.offset = torch.ones(4)

    def forward(self, inputs: Tensor) -> Tensor:
        slope: Tensor = self.layer(inputs) * torch.arange(4, dtype=torch.float32)
        return slope + self.offset + torch.zeros(4)


def test_everything_moves() -> None:
    program = capture(Creates(), (4,))
    move(program, torch.device("meta"))
    assert {tensor.device.type for tensor in program.tensors().values()} == {"meta"}
    assert program.run(torch.empty(3, 4, device="meta")).device.type == "meta"


def test_a_program_that_is_where_it_should_be_stays_as_it_is() -> None:
    program = capture(Creates(), (4,))
    inputs = program.example(3)
    before, held = program.run(inputs), program.tensors()
    with placed(program, torch.device("cpu")):
        assert torch.equal(program.run(inputs), before)
    assert all(tensor is held[name] for name, tensor in program.tensors().items())


def test_bfloat16_is_for_processors_with_its_unit() -> None:
    found = torch.cpu.get_capabilities()
    expected = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    assert has_bfloat16(torch.device("cpu")) is expected

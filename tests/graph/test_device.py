"""A program that is taken to a device computes there, constants it creates included."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny
from torch import Tensor, nn

from edgeprune.graph.capture import capture
from edgeprune.graph.device import channels_last, has_bfloat16, move, placed, training_device


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


@pytest.mark.parametrize(
    ("rank", "devices", "expected"),
    [(None, 2, "cuda:0"), ("0", 2, "cuda:0"), ("1", 2, "cuda:1"), ("3", 2, "cuda:1"), ("1", 1, "cuda:0")],
)
def test_every_process_on_a_machine_trains_on_its_own_device(
    rank: str | None, devices: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("RANK", "4")  # on a second machine of four processes each
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert training_device() == torch.device(expected)


def test_without_a_cuda_device_every_process_trains_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert training_device() == torch.device("cpu")


def test_bfloat16_is_for_processors_with_its_unit() -> None:
    found = torch.cpu.get_capabilities()
    expected = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    assert has_bfloat16(torch.device("cpu")) is expected


@pytest.mark.parametrize(
    "situation", ["residual_add", "squeeze_excite", "pixel_shuffle", "flatten_channels_first"]
)
def test_a_network_answers_the_same_in_either_order_of_its_axes(situation: str) -> None:
    program = tiny(situation)
    inputs = program.example(3)
    before, strides = program.run(inputs), {name: one.stride() for name, one in program.tensors().items()}
    assert channels_last(program)
    move(program, torch.device("cpu"), torch.channels_last)
    assert any(one.stride() != strides[name] for name, one in program.tensors().items())
    found = program.run(inputs.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found, before, atol=1e-5)
    move(program, torch.device("cpu"), torch.contiguous_format)
    assert {name: one.stride() for name, one in program.tensors().items()} == strides


@pytest.mark.parametrize("situation", ["channel_shuffle", "conv3d", "conv1d", "bn_mlp"])
def test_maps_that_are_viewed_as_something_else_keep_their_order(situation: str) -> None:
    assert not channels_last(tiny(situation))

"""Device: a program trains on an accelerator when there is one, in bfloat16 where that is faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import operator_name, shape_of
from edgeprune.graph.processes import local_rank_here

# Processors without one of these units emulate bfloat16, which is slower than float32.
_UNITS = ("avx512_bf16", "amx_bf16")
_VIEWS = frozenset({"aten.view.default", "aten._unsafe_view.default", "aten.unfold.default"})


def training_device() -> torch.device:
    """A CUDA device, or the processor.

    Of several CUDA devices each process on this machine has its own, as long as there are enough.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank_here() % torch.cuda.device_count())


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32.

    ResNet-20 on one core with AVX-512 BF16, batch 128: a training step of 0.59 s against 1.24 s; an epoch
    of fine-tuning, the original's answers included, 3.0 against 6.9 CPU seconds for 1,000 images.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(unit) for unit in _UNITS)


def channels_last(program: Program) -> bool:
    """Whether images may lie with their channels side by side, which tensor cores read without a detour.

    A `view` of whole maps would need them in the other order.
    """
    if any(tensor.ndim > 4 for tensor in program.tensors().values()):
        return False
    read = (node.args[0] for node in program.graph.nodes if operator_name(node) in _VIEWS)
    return len(program.input_size) == 3 and not any(_is_map(node) for node in read)


def _is_map(node: object) -> bool:
    """Whether a value has rows or columns beside its channels."""
    sizes = shape_of(node) if isinstance(node, Node) else ()
    return len(sizes) == 4 and any(size != 1 for size in sizes[2:])


@contextmanager
def placed(program: Program, device: torch.device) -> Iterator[None]:
    """A program's tensors, and those its graph creates, on a device; back on the processor at the end.

    On a CUDA device images lie with their channels side by side where the network allows it.
    """
    last = device.type == "cuda" and channels_last(program)
    move(program, device, torch.channels_last if last else None)
    try:
        yield
    finally:
        move(program, torch.device("cpu"), torch.contiguous_format if last else None)


def move(program: Program, device: torch.device, order: torch.memory_format | None = None) -> None:
    """Take a program's tensors, and those its graph creates, to a device, and into an order of their axes."""
    if order is None and all(tensor.device == device for tensor in program.tensors().values()):
        return
    program.module.to(device)
    if order is not None:
        program.module.to(memory_format=order)  # type: ignore[call-overload]
    for name, tensor in program.tensors().items():
        if tensor.device != device:  # a constant that is no buffer
            owner, _, leaf = name.rpartition(".")
            setattr(program.module.get_submodule(owner), leaf, tensor.to(device))
    for node in program.graph.nodes:
        if isinstance(node.kwargs.get("device"), torch.device):
            node.kwargs = {**node.kwargs, "device": device}
    program.module.recompile()

"""User module: what was handed in, looked at and tried once before it is captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import SUPPORTED_NODES, tree_leaves

from edgeprune.core.errors import ModelError
from edgeprune.core.quiet import first_line
from edgeprune.graph.input import Input
from edgeprune.graph.user_frames import user_line


def require_usable(module: nn.Module) -> None:
    """Weights that a forward in single precision on this machine can use.

    Raises
    ------
    ModelError
        Some are half precision, or have no values.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise ModelError(f"{name} is on the meta device: it has no values", hint="load the weights first")
        if tensor.dtype in {torch.float16, torch.bfloat16}:
            raise ModelError(
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}",
                hint="give the network in float32 (model.float()); half precision is made on export",
            )


def tried(module: nn.Module, inputs: Sequence[Input]) -> list[Tensor]:
    """The tensors that its forward answers with to a batch of two.

    Raises
    ------
    ModelError
        The network refuses such inputs, or answers without a tensor, or with NaN or infinity.
    """
    examples = [one.example(2, place, torch.float32) for place, one in enumerate(inputs)]
    try:
        with torch.no_grad():
            output = module(*examples)
    except Exception as error:  # the user's forward may raise anything
        where = user_line(error)
        shapes = ", ".join("x".join(map(str, one.size)) for one in inputs)
        raise ModelError(
            f"the network refuses inputs of shape {shapes}"
            f"{f' at {where}' if where else ''}: {first_line(error)}",
            hint="give the size it was trained with, as --input CxHxW or in edgeprune.toml",
        ) from error
    if is_dataclass(output) and not isinstance(output, type):
        _register(type(output))
    found = [one for one in tree_leaves(output) if isinstance(one, Tensor)]
    if not found:
        raise ModelError(
            f"the network returns a {type(output).__name__} without any tensor",
            hint="wrap it in a module that returns the logits",
        )
    _require_finite(found, inputs)
    return found


def _require_finite(answers: Sequence[Tensor], inputs: Sequence[Input]) -> None:
    """Nothing can be compared with NaN, whatever the captured program answers."""
    if not all(one.isfinite().all() for one in answers):
        shapes = ", ".join(str(one.described) for one in inputs)
        raise ModelError(
            f"the network answers with NaN or infinity to random inputs of {shapes}",
            hint="look for weights that are not finite, a division by zero, or a root or logarithm of what "
            "inputs around zero make negative",
        )


def _register(kind: type) -> None:
    """Let a dataclass cross the border of an exported program."""
    if kind not in SUPPORTED_NODES:
        torch.export.register_dataclass(kind)

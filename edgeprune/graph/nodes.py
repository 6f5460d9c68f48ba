"""Nodes of a captured graph: their values' shapes, their arguments, the user's line behind them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

TORCH = str(Path(torch.__file__).parent) + os.sep


def attribute(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its dotted name."""
    owner, _, leaf = name.rpartition(".")
    value = getattr(module.get_submodule(owner), leaf)
    assert isinstance(value, Tensor)
    return value


def shape_of(node: Node) -> tuple[int | None, ...]:
    """Sizes of a node's tensor value; None where they depend on the batch."""
    value = node.meta.get("val")
    return tensor_shape(value) if isinstance(value, Tensor) else ()


def tensor_shape(value: Tensor) -> tuple[int | None, ...]:
    """Sizes of a (fake) tensor; None where they are symbolic."""
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def single_sizes(value: Tensor) -> tuple[int, ...]:
    """Sizes of a (fake) tensor for a batch of one."""
    return tuple(size if isinstance(size, int) else _at_batch_one(size) for size in value.shape)


def source_of(node: Node) -> str:
    """`file.py:12` of the user's line behind a node, '' when the archive does not say."""
    found = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in found if not file.startswith(TORCH)]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""


def module_of(node: Node) -> str:
    """The path of the module a node computes in, by its parameters or else as captured; '' if unknown."""
    for value in node.all_input_nodes:
        if value.op == "get_attr":
            return str(value.target).rpartition(".")[0]
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def operator_name(node: Node) -> str:
    """The key of a node in the table of rules."""
    target = node.target
    if isinstance(target, str):
        return target
    if not hasattr(target, "__module__") or "aten" in str(target):
        return str(target)
    return f"{target.__module__}.{target.__name__}"


def argument(node: Node, index: int, default: object = None, name: str = "") -> object:
    """A positional argument, or its keyword, or its default."""
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(name, default)


def set_argument(node: Node, index: int, value: object) -> None:
    """Replace a positional argument that is present."""
    arguments = list(node.args)
    arguments[index] = value  # type: ignore[call-overload]
    node.args = tuple(arguments)


_SEEN_THROUGH = "adjoint alias contiguous detach mT numpy_T permute t transpose".split()


def stored(value: object) -> Node | None:
    """The parameter or buffer that a value is, seen through transposes; None for what is computed."""
    while (
        isinstance(value, Node)
        and value.op == "call_function"
        and operator_name(value).startswith("aten.")
        and operator_name(value).split(".")[1] in _SEEN_THROUGH
    ):
        value = value.args[0]
    return value if isinstance(value, Node) and value.op == "get_attr" else None


def set_arguments(node: Node, *arguments: Any) -> None:
    """Replace all arguments by positional ones."""
    node.args, node.kwargs = arguments, {}


def _at_batch_one(size: Any) -> int:
    expression = size.node.expr
    return int(expression.xreplace(dict.fromkeys(expression.free_symbols, 1)))

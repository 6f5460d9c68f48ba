"""Names in files: what may become Python source, call an operator, or be printed."""

from __future__ import annotations

import keyword
import re
from typing import Final

import torch

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DOTTED: Final = re.compile(r"[\w\-]+(?:\.[\w\-]+)*\Z", re.ASCII)
_PYTHON_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z", re.ASCII)
_OPERATOR: Final = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.(\w+)\.(\w+)\Z", re.ASCII
)
# They open files, share storage, or trust sizes and offsets that the archive gives them.
_REFUSED: Final = re.compile(r"from_file|save|warn|set_|_sparse_\w+_unsafe|_nested_\w+|_test_\w+")
_HIGHER_ORDER: Final = {
    f"torch.ops.higher_order.{name}"
    for name in (
        *("cond", "while_loop", "map_impl", "scan", "associative_scan"),
        *("wrap_with_set_grad_enabled", "wrap_with_autocast"),
    )
}
_SCALAR: Final = {
    *(
        f"_operator.{name}"
        for name in (
            *("getitem", "add", "mul", "sub", "truediv", "ge", "le", "gt", "lt", "eq", "ne"),
            *("floordiv", "mod", "and_", "or_", "not_", "pow", "neg", "pos", "abs", "lshift", "rshift"),
        )
    ),
    *(f"math.{name}" for name in ("ceil", "floor", "trunc")),
    *(f"torch.sym_{name}" for name in ("int", "float", "ite", "max", "min", "not", "sqrt", "sum")),
    "torch._C._set_grad_enabled",
}


def is_word(value: object) -> bool:
    """An identifier's spelling. Python's keywords pass: an operator's argument may be called `from`."""
    return isinstance(value, str) and _WORD.match(value) is not None


def is_identifier(value: object) -> bool:
    """A name that can stand in a function's signature."""
    return is_word(value) and not keyword.iskeyword(str(value))


def is_dotted(value: object) -> bool:
    """A parameter's name, such as `layer1.0.conv.weight`."""
    return isinstance(value, str) and _DOTTED.match(value) is not None


def is_source_target(value: str) -> bool:
    """A traced function's name: torch resolves it by getattr from `torch` (serialize.py:3406)."""
    return value == "" or ("__" not in value and _PYTHON_PATH.match(value) is not None)


def is_operator(value: object) -> bool:
    """A tensor operator or integer arithmetic: any other name is a chain of getattr (serialize.py:2344).

    The dispatcher's register decides, because `torch.ops.aten.__class__.mro` is spelled like an operator.
    """
    if not isinstance(value, str):
        return False
    if value in _SCALAR or value in _HIGHER_ORDER:
        return True
    match = _OPERATOR.match(value)
    if match is None or _REFUSED.fullmatch(match[2]):
        return False
    overload = "" if match[3] == "default" else match[3]
    schemas = torch._C._jit_get_schemas_for_operator(f"{match[1]}::{match[2]}")
    return any(schema.overload_name == overload for schema in schemas)


def printable(text: str) -> str:
    """Text from a file as one line that cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

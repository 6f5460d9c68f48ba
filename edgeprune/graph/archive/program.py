"""The program's JSON: every field by its name, wherever it stands, because torch trusts all of them.

The fields are those of torch/_export/serde/schema.py (version 8.20). torch ignores fields it does not
know; here they are refused, so that a new field is looked at before it is let through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from edgeprune.graph.archive.expressions import is_guard, is_size
from edgeprune.graph.archive.names import is_dotted, is_identifier, is_operator, is_source_target, is_word
from edgeprune.graph.archive.trees import is_input_tree, is_tree

Check = Callable[[object], bool]

_KINDS: Final = {
    **dict.fromkeys(("target", "as_operator"), "tensor operator"),
    **dict.fromkeys(("in_spec", "out_spec"), "container"),
    **dict.fromkeys(("name", "as_name", "fqn", "parameter_name", "buffer_name"), "name"),
    "forward_arg_names": "list of names",
    "guards_code": "list of comparisons",
    "expr_str": "arithmetic",
}
_PLAIN: Final = re.compile(r"[\w.+<= ]*\Z", re.ASCII)
_DEVICE: Final = re.compile(r"[a-z]+\Z")
_METADATA: Final = {"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom"}


def check_program(program: object) -> Iterator[str]:
    """Check a whole exported program."""
    if not isinstance(program, dict):
        yield "the program is not a map"
        return
    yield from check_fields(program)


def check_fields(value: object) -> Iterator[str]:
    """Check a structure of the schema: a map of fields, a list of such maps, or nothing."""
    if isinstance(value, list):
        for item in value:
            yield from check_fields(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _check_field(key, item)
    elif value is not None:
        yield f"{str(value)[:60]!r} stands where a structure belongs"


def _check_field(key: str, value: object) -> Iterator[str]:
    if key in _STRUCTURES:
        yield from check_fields(value)
    elif key in _OBJECTS:
        if value:
            yield f"custom objects ({key})"
    elif key in _MAPS:
        yield from _check_map(key, value)
    elif key == "metadata":
        yield from _check_metadata(value)
    elif key not in _LEAVES:
        yield f"unknown field '{key[:60]}'"
    elif not _LEAVES[key](value):
        yield f"{key} is no plain {_KINDS.get(key, 'value')}: {str(value)[:80]}"


def _check_map(key: str, value: object) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{key} is not a map"
        return
    named = is_size if key == "range_constraints" else is_identifier
    yield from (f"the name {name[:60]!r} in {key}" for name in value if not named(name))
    for item in value.values():
        yield from () if key == "opset_version" and _is_number(item) else check_fields(item)


def _check_metadata(value: object) -> Iterator[str]:
    """Check a node's notes: source_fn_stack is resolved by getattr, the others stay text."""
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        yield "metadata is not a map of texts"
        return
    yield from (f"unknown metadata '{key[:60]}'" for key in value if key not in _METADATA)
    for item in str(value.get("source_fn_stack", "")).split(";"):
        target = item.rpartition(",")[2]
        if not is_source_target(target):
            yield f"source_fn_stack names {target[:60]!r}"


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float) or value in ("Infinity", "-Infinity", "NaN")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return value is None or value == "" or is_word(value)


def _is_parameter(value: object) -> bool:
    return value == "" or is_dotted(value)


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _list_of(check: Check) -> Check:
    return lambda value: value is None or (isinstance(value, list) and all(check(item) for item in value))


_STRUCTURES: Final = {
    *("graph_module", "graph", "signature", "module_call_graph", "schema_version"),
    *("input_specs", "output_specs", "inputs", "outputs", "nodes", "arg", "value"),
    *("user_input", "parameter", "buffer", "tensor_constant", "constant_input", "token"),
    *("user_output", "loss_output", "buffer_mutation", "parameter_mutation", "user_input_mutation"),
    *("gradient_to_parameter", "gradient_to_user_input"),
    *("as_tensor", "as_tensors", "as_nested_tensors", "as_optional_tensor", "as_optional_tensors"),
    *("as_sym_int", "as_sym_ints", "as_sym_float", "as_sym_floats", "as_sym_bool", "as_sym_bools"),
    *("as_graph", "as_device", "as_complex", "as_expr", "hint"),
    *("sizes", "strides", "storage_offset", "device"),
}
_MAPS: Final = {
    *("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values"),
    *("range_constraints", "opset_version", "as_string_to_argument"),
}
_OBJECTS: Final = {
    *("as_custom_obj", "custom_obj", "custom_obj_values", "custom_obj_name", "class_fqn"),
    "treespec_namedtuple_fields",
}
_LEAVES: Final[Mapping[str, Check]] = {
    **dict.fromkeys(("as_int", "as_float", "as_bool", "as_none", "real", "imag"), _is_number),
    **dict.fromkeys(("as_scalar_type", "as_memory_format", "as_layout", "dtype", "layout"), _is_number),
    **dict.fromkeys(("min_val", "max_val", "index", "kind", "major", "minor"), _is_number),
    **dict.fromkeys(("requires_grad", "persistent", "is_single_tensor_return"), _is_number),
    "is_hop_single_tensor_return": _is_number,
    **dict.fromkeys(("as_ints", "as_floats", "as_bools"), _list_of(_is_number)),
    **dict.fromkeys(("as_int_lists", "as_float_lists"), _list_of(_list_of(_is_number))),
    **dict.fromkeys(("name", "as_name"), _is_name),
    **dict.fromkeys(("target", "as_operator"), is_operator),
    **dict.fromkeys(("fqn", "parameter_name", "buffer_name", "tensor_constant_name"), _is_parameter),
    "user_input_name": _is_parameter,
    "expr_str": is_size,
    "in_spec": is_input_tree,
    "out_spec": is_tree,
    "forward_arg_names": _list_of(is_identifier),
    "guards_code": _list_of(is_guard),
    "verifiers": _list_of(lambda value: value in ("", "ATEN", "TRAINING")),
    "torch_version": _matches(_PLAIN),
    "type": _matches(_DEVICE),
    "as_string": _is_text,  # an operator's argument: torch pastes its repr, and no operator left opens files
    "as_strings": _list_of(_is_text),
}

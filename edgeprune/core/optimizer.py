"""Optimiser states follow a plan: momentum and moments are narrowed with their parameters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgeprune.core.errors import RequestError
from edgeprune.core.narrowing import Narrowing, format_size, is_array, own, plain
from edgeprune.core.state import require_no_prefix, require_stored


def narrow_optimizer(
    tensors: Mapping[str, Narrowing],
    dropped: Collection[str],
    state: Mapping[str, Any],
    parameter_names: Sequence[str] | None,
) -> dict[str, Any]:
    """A copy of a torch optimiser's state dict that fits the narrow parameters.

    Whatever has a parameter's shape (momentum, moments) is narrowed with it, scalars stay; dropped
    parameters leave and the others are numbered anew.

    Raises
    ------
    RequestError
        It is no optimiser's state, the names do not match it, or it holds something of another shape.
    """
    names = _names_by_number(state, parameter_names)
    require_stored([name for name in tensors if name not in names.values()], names.values())
    require_no_prefix(tensors, names.values())
    kept = [number for number, name in names.items() if name not in dropped]
    renumbered = {number: new for new, number in enumerate(kept)}
    entries = {
        renumbered[number]: _narrow_entry(names[number], tensors.get(names[number]), entry)
        for number, entry in state["state"].items()
        if number in renumbered
    }
    groups = [_regrouped(group, renumbered) for group in state["param_groups"]]
    return {"state": entries, "param_groups": groups}


def _names_by_number(state: Mapping[str, Any], names: Sequence[str] | None) -> dict[Any, str]:
    if not {"state", "param_groups"} <= state.keys():
        raise RequestError(
            f"not an optimiser's state: its keys are {', '.join(map(str, state)) or '(none)'}",
            hint="give what optimizer.state_dict() returns",
        )
    groups = state["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    if names is None:
        if not all("param_names" in group for group in groups):
            raise RequestError(
                "the optimiser's state does not name its parameters",
                hint="give their names in its order: [name for name, _ in module.named_parameters()]",
            )
        names = [name for group in groups for name in group["param_names"]]
    if len(names) != len(numbers):
        raise RequestError(
            f"the optimiser has {len(numbers)} parameters, {len(names)} names were given",
            hint="name exactly the parameters it was built with, in their order",
        )
    return dict(zip(numbers, names, strict=True))


def _narrow_entry(name: str, narrowing: Narrowing | None, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimiser keeps for one parameter."""
    narrow = {}
    for key, value in entry.items():
        shape = tuple(value.shape) if is_array(value) else ()
        scalar = all(size == 1 for size in shape) and not isinstance(value, (list, tuple, dict))
        if narrowing and shape == narrowing.shape:
            narrow[key] = narrowing.of(plain(value))
        elif scalar or (is_array(value) and narrowing is None):
            narrow[key] = own(value)
        else:
            held = f"shape {format_size(shape)}" if is_array(value) else f"a {type(value).__name__}"
            raise RequestError(
                f"the optimiser's '{key}' of '{name}' has {held}"
                + (f", the parameter {format_size(narrowing.shape)}" if narrowing else ""),
                hint="it was narrowed already"
                if narrowing and shape == narrowing.narrow_shape
                else "only what has the parameter's own shape can be narrowed; start this optimiser anew",
            )
    return narrow


def _regrouped(group: Mapping[str, Any], renumbered: Mapping[Any, int]) -> dict[str, Any]:
    """A parameter group with its hyper-parameters, without the dropped parameters."""
    result = {key: copy.deepcopy(value) for key, value in group.items()}
    result["params"] = [renumbered[number] for number in group["params"] if number in renumbered]
    if "param_names" in group:
        pairs = zip(group["param_names"], group["params"], strict=True)
        result["param_names"] = [name for name, number in pairs if number in renumbered]
    return result

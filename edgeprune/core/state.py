"""State dicts follow a plan: narrow copies of them, and the way back.

An EMA copy or a wrapped module's state is the same under a prefix. Arguments are never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgeprune.core.errors import RequestError
from edgeprune.core.narrowing import Narrowing, format_size, is_array, own, plain

_SHOWN = 3


def narrow_state(
    tensors: Mapping[str, Narrowing], dropped: Collection[str], state: Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of a state dict: planned tensors narrow, dropped ones absent, all others as they were.

    Entries that share their memory (tied parameters) are one object in the result.

    Raises
    ------
    RequestError
        A planned tensor is missing, or has another shape than the plan knows.
    """
    # Values are told apart by where they lie, so they have to stay alive.
    state = dict(state)
    _require_names(_persistent(tensors), state, "the state")
    _require_shapes(tensors, state)
    # By memory, not by name: a twin of a planned tensor follows whatever it is called.
    narrowings = {_memory(state[name]): one for name, one in tensors.items() if name in state}
    done: dict[object, Any] = {}
    result: dict[str, Any] = {}
    for name, value in state.items():
        if name in dropped:
            continue
        key = _memory(value)
        if key not in done:
            done[key] = narrowings[key].of(plain(value)) if key in narrowings else own(value)
        result[name] = done[key]
    return result


def restore_state(
    tensors: Mapping[str, Narrowing],
    dropped: Collection[str],
    narrow: Mapping[str, Any],
    full: Mapping[str, Any],
) -> dict[str, Any]:
    """The inverse: a copy of `full` that holds the narrow values where they came from.

    What was cut keeps the value it has in `full`; what `full` does not have is left out (the constants
    that a captured program holds beside the parameters).

    Raises
    ------
    RequestError
        A tensor is missing on either side, or has another shape than the plan knows.
    """
    narrow, full = dict(narrow), dict(full)
    _require_names(_persistent(tensors), full, "the full state")
    _require_names([name for name in full if name not in dropped], narrow, "the narrow state")
    _require_shapes(tensors, full)
    done: dict[object, Any] = {}
    result: dict[str, Any] = {}
    for name, value in full.items():
        key = _memory(value)
        if key not in done:
            done[key] = _restored(name, tensors.get(name), narrow.get(name, value), value)
        result[name] = done[key]
    return result


def _restored(name: str, narrowing: Narrowing | None, narrow: Any, full: Any) -> Any:
    if not is_array(full):
        return own(narrow)
    expected = narrowing.narrow_shape if narrowing else tuple(full.shape)
    if tuple(narrow.shape) != expected:
        raise RequestError(
            f"the narrow state: '{name}' has shape {format_size(narrow.shape)}, "
            f"the plan leaves {format_size(expected)}",
            hint="it was narrowed by another plan, or not at all",
        )
    return narrowing.put_back(narrow, full) if narrowing else own(narrow)


def _persistent(tensors: Mapping[str, Narrowing]) -> list[str]:
    return [name for name, one in tensors.items() if one.persistent]


def _require_names(needed: Collection[str], state: Mapping[str, Any], what: str) -> None:
    missing = [name for name in needed if name not in state]
    if missing:
        require_stored(missing, state)
        require_no_prefix(needed, state)
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise RequestError(
            f"{what} lacks {', '.join(missing[:_SHOWN])}{more}",
            hint="it belongs to another network than the plan, or is only a part of it",
        )


def require_stored(missing: Collection[str], names: Collection[str]) -> None:
    """A weight that the network computes is one parameter in the plan, and in no state by that name."""
    for name in missing:
        owner, _, leaf = name.rpartition(".")
        sources = [other for other in names if other.startswith(f"{owner}.parametrizations.{leaf}.")]
        sources += [other for other in (f"{name}_g", name.removesuffix("_folded")) if other in names]
        if sources:
            raise RequestError(
                f"'{name}' is computed from '{sources[0]}' (a parametrization, or the forward); "
                "the plan narrows the computed weight",
                hint="go on with model.pt2, which stores it; or store it in the network before it is pruned "
                "(torch.nn.utils.parametrize.remove_parametrizations)",
            )


def require_no_prefix(wanted: Collection[str], names: Collection[str]) -> None:
    """Names of a wrapped module match nothing, which must not pass as nothing to do."""
    wrapped = [name for name in names if name not in wanted and name.partition(".")[2] in wanted]
    if wrapped and not any(name in wanted for name in names):
        prefix = wrapped[0].partition(".")[0]
        raise RequestError(
            f"the names begin with '{prefix}.', those of the plan do not", hint=f"give prefix='{prefix}.'"
        )


def _require_shapes(tensors: Mapping[str, Narrowing], state: Mapping[str, Any]) -> None:
    for name, one in tensors.items():
        shape = tuple(state[name].shape) if name in state else one.shape
        if shape != one.shape:
            raise RequestError(
                f"'{name}' has shape {format_size(shape)}, the plan narrows {format_size(one.shape)} "
                f"to {format_size(one.narrow_shape)}",
                hint="it was narrowed already"
                if shape == one.narrow_shape
                else "the state belongs to another network than the plan",
            )


def _memory(value: Any) -> object:
    """What two entries have in common when they are one tensor under two names."""
    if hasattr(value, "data_ptr") and value.data_ptr():
        return value.data_ptr(), tuple(value.shape), tuple(value.stride()), value.dtype
    return id(value)

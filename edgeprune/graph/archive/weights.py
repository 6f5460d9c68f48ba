"""Weights: the state dict inside what a file holds, and how it fits an architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from torch import Tensor, nn

from edgeprune.core.errors import ModelError, nearest
from edgeprune.graph.archive.names import printable

# Where training scripts keep the state dict in a checkpoint, in the order of preference.
_KEYS = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "weights",
    "state_dict_ema",
    "model_ema",
)
# What nn.DataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
# BatchNorm2d counts its batches since torch 0.4.1; older files have no count, and evaluation reads none.
_COUNTER = "num_batches_tracked"
_SHOWN = 5


def find_state_dict(held: object, path: Path) -> dict[str, Tensor]:
    """The state dict that a file holds, directly or as one entry of a checkpoint.

    Raises
    ------
    ModelError
        There is none.
    """
    if isinstance(held, Mapping):
        for candidate in (held, *(held.get(key) for key in _KEYS)):
            if _is_state_dict(candidate):
                return dict(candidate)
    keys = printable(", ".join(str(key) for key in [*held][:_SHOWN])) if isinstance(held, Mapping) else ""
    raise ModelError(
        f"{path}: holds no state dict but a {type(held).__name__}{f' with the keys {keys}' if keys else ''}",
        hint=f"save one with torch.save(model.state_dict(), ...); it may lie under {', '.join(_KEYS[:3])}",
    )


def fit(module: nn.Module, weights: Mapping[str, Tensor], *, path: Path, arch: str) -> nn.Module:
    """Load weights into an architecture with exactly their names and shapes, wrappers' prefixes aside.

    Raises
    ------
    ModelError
        They differ; the message counts and lists what is missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    weights = _unwrapped(weights, wanted)
    missing = [name for name in wanted if name not in weights and not name.endswith(_COUNTER)]
    unexpected = [name for name in weights if name not in wanted]
    reshaped = [name for name in wanted if name in weights and weights[name].shape != wanted[name].shape]
    if not (missing or unexpected or reshaped):
        module.load_state_dict(weights, strict=False)  # strict but for the counters
        return module
    if not missing and not unexpected:
        _require_equal_classes(reshaped, weights, wanted, path=path, arch=arch)
    faults = [
        _listed("missing", missing, [*missing]),
        _listed("unexpected", unexpected, [_with_nearest(name, missing) for name in unexpected]),
        _listed("of another shape", reshaped, [_shapes(name, weights, wanted) for name in reshaped]),
    ]
    raise ModelError(
        f"{path} does not fit {arch}: {'; '.join(fault for fault in faults if fault)}",
        hint="name the architecture these weights were trained with, with its ?option=value",
    )


def _is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _unwrapped(weights: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Take a wrapper's prefix off every name, unless the architecture's own names have it too."""
    names = [*wanted]
    for prefix in _WRAPPERS * len(_WRAPPERS):
        if all(name.startswith(prefix) for name in weights) and not all(n.startswith(prefix) for n in names):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return dict(weights)


def _require_equal_classes(
    reshaped: Sequence[str],
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    path: Path,
    arch: str,
) -> None:
    """Where only the last layer's number of outputs differs, say that instead of two shapes."""
    layer = reshaped[-1].rpartition(".")[0]
    ends_there = [*wanted][-1].rpartition(".")[0] == layer
    one_layer = all(name.rpartition(".")[0] == layer for name in reshaped)
    if ends_there and one_layer and all(weights[n].shape[1:] == wanted[n].shape[1:] for n in reshaped):
        trained, built = weights[reshaped[0]].shape[0], wanted[reshaped[0]].shape[0]
        separator = "&" if "?" in arch else "?"
        raise ModelError(
            f"{path} was trained for {trained} classes ('{layer}'), {arch} has {built}",
            hint=f"--arch '{arch}{separator}num_classes={trained}', or your factory's own option",
        )


def _listed(what: str, names: Sequence[str], shown: Sequence[str]) -> str:
    if not names:
        return ""
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(f"{len(names)} {what} ({', '.join(shown[:_SHOWN])}{more})")


def _with_nearest(name: str, missing: Sequence[str]) -> str:
    close = nearest(name, missing)
    return f"{name}: nearest {close}" if close else name


def _shapes(name: str, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    return f"{name}: {_size(weights[name])} in the file, {_size(wanted[name])} in the architecture"


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"

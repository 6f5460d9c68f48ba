"""The peer: networks cut by Torch-Pruning, one shot, to the MACs that edgeprune's cut has."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_HALVINGS = 9
"""Of the interval of ratios: to a five-hundredth, finer than one channel of the widest layer."""


def importance(name: str) -> Any:
    """One of its ways to rank channels, with its default arguments."""
    ways = importlib.import_module("torch_pruning").importance
    return {
        "group l1": lambda: ways.GroupMagnitudeImportance(p=1),
        "group l2": lambda: ways.GroupMagnitudeImportance(p=2),
        "batch-norm scale": lambda: ways.BNScaleImportance(),
        "random": lambda: ways.RandomImportance(),
    }[name]()


def classifier(module: nn.Module) -> list[nn.Module]:
    """The last linear layer, whose outputs are the classes: the one that its user has to name."""
    return [one for one in module.modules() if isinstance(one, nn.Linear)][-1:]


def pruned(
    build: Callable[[], nn.Module],
    size: tuple[int, ...],
    way: str,
    macs: int,
    *,
    everywhere: bool,
    ignored: Callable[[nn.Module], list[nn.Module]],
    seed: int = 0,
) -> nn.Module:
    """The least cut that has at most so many MACs, counted as edgeprune counts them.

    Parameters
    ----------
    everywhere : bool
        Channels of all layers compared with each other (its `global_pruning`), or the same share of every
        layer, which is its default.
    ignored : callable
        The layers a user of it has to name, of a module: the classifier.
    """
    low, high = 0.0, 1.0
    best: nn.Module | None = None
    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        module = _cut(build(), size, way, ratio, everywhere, ignored, seed)
        found = macs_of(module, size)
        if found is not None and found <= macs:
            best, high = module, ratio
        else:
            low = ratio
    if best is None:
        raise SystemExit(f"error: Torch-Pruning ({way}) does not get to {macs} MACs")
    return best


def macs_of(module: nn.Module, size: tuple[int, ...]) -> int | None:
    """MACs of convolutions and linear layers, as edgeprune counts them; None where it no longer runs."""
    found: list[int] = []

    def counted(layer: nn.Module, _: object, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found.append(weight.numel() * output[0].numel() // output.shape[1])

    layers = [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    hooks = [one.register_forward_hook(counted) for one in layers]
    try:
        with torch.no_grad():
            module(torch.zeros(1, *size))
    except RuntimeError:
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found)


def narrowed(module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """The module with the tensors of a narrower one in the place of its own."""
    for name, value in state.items():
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        trained = isinstance(getattr(holder, leaf), nn.Parameter)
        setattr(holder, leaf, nn.Parameter(value) if trained else value)
    return module


def _cut(
    module: nn.Module,
    size: tuple[int, ...],
    way: str,
    ratio: float,
    everywhere: bool,
    ignored: Callable[[nn.Module], list[nn.Module]],
    seed: int,
) -> nn.Module:
    peer = importlib.import_module("torch_pruning")
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its default arguments are dictionaries it writes to, so every pruner is given its own.
        pruner = peer.pruner.BasePruner(
            module,
            torch.zeros(1, *size),
            importance=importance(way),
            pruning_ratio=ratio,
            global_pruning=everywhere,
            ignored_layers=ignored(module),
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )
        pruner.step()
    return module

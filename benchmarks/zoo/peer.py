"""The peer: one pruning step of Torch-Pruning, and whether what it cut was really silent."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def torch_pruning() -> Any:
    """The package; its import needs nothing of torchvision's operators."""
    return importlib.import_module("torch_pruning")


def pruner(
    module: nn.Module, example: Tensor, ignored: list[nn.Module], *, round_to: int | None = None
) -> Any:
    """A magnitude pruner at ratio 0.5, every layer by itself, as its README sets it up.

    Its default arguments are dictionaries it writes to, so every pruner is given its own.
    """
    peer = torch_pruning()
    with _quiet():
        return peer.pruner.BasePruner(
            module,
            example,
            importance=peer.importance.MagnitudeImportance(p=2),
            pruning_ratio=0.5,
            global_pruning=False,
            round_to=round_to,
            ignored_layers=ignored,
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )


def ignored_layers(module: nn.Module, example: Tensor) -> list[nn.Module]:
    """The convolution or linear layer that runs last, the classifier, which the user must name.

    Empty for a network that only calls functions on parameters.
    """
    ran: list[nn.Module] = []
    layers = [one for one in module.modules() if isinstance(one, _LAYERS)]
    hooks = [one.register_forward_hook(lambda layer, *_: ran.append(layer)) for one in layers]
    with torch.no_grad():
        module(example)
    for hook in hooks:
        hook.remove()
    return ran[-1:]


def prune_layer(module: nn.Module, example: Tensor, root: nn.Module) -> float | None:
    """Prune every second output of one layer with all that Torch-Pruning couples to it.

    The producers of those channels are set to zero first, so that the features are exactly zero and a
    right cut changes nothing. Returns the relative difference, or None where nothing was pruned.
    """
    peer = torch_pruning()
    with _quiet():
        graph = peer.DependencyGraph().build_dependency(module, example)
        if root not in graph.module2node:
            return None
        prune = graph.get_pruner_of_module(root)
        channels = graph.get_out_channels(root)
        group = graph.get_pruning_group(root, prune.prune_out_channels, list(range(0, channels, 2)))
        if channels < 2 or not graph.check_pruning_group(group):
            return None
        _silence(graph, group)
        with torch.no_grad():
            before = module(example)
            group.prune()
            after = module(example)
    if before.shape != after.shape:
        return float("nan")
    return float((before - after).abs().max()) / (float(before.abs().max()) or 1.0)


def _silence(graph: Any, group: Any) -> None:
    """Zero the rows of every producer and norm that the group would remove."""
    dimensions = {id(one.parameters): one.pruning_dim for one in graph.unwrapped_parameters}
    for dependency, indices in group:
        layer, rows = dependency.target.module, torch.as_tensor(list(indices))
        if not graph.is_out_channel_pruning_fn(dependency.handler):
            continue
        with torch.no_grad():
            if isinstance(layer, nn.Parameter):
                layer.index_fill_(dimensions[id(layer)], rows, 0)
            elif isinstance(layer, nn.ConvTranspose2d):
                _silence_transposed(layer, rows)
            elif not isinstance(layer, nn.PReLU):
                for tensor in (getattr(layer, "weight", None), getattr(layer, "bias", None)):
                    if tensor is not None:
                        tensor.index_fill_(0, rows, 0)


def _silence_transposed(layer: nn.ConvTranspose2d, rows: Tensor) -> None:
    """Output o of group g stands in the rows of g's inputs, in column o - g * outputs per group."""
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    for row in rows.tolist():
        group, column = divmod(row, outputs)
        layer.weight[group * inputs : (group + 1) * inputs, column] = 0
    if layer.bias is not None:
        layer.bias.index_fill_(0, rows, 0)


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def roots(module: nn.Module, ignored: list[nn.Module]) -> list[str]:
    """Names of the layers whose outputs may be pruned."""
    named = module.named_modules()
    return [name for name, one in named if isinstance(one, _LAYERS) and one not in ignored]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

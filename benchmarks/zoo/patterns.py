"""Patterns: small situations at which structural pruning breaks, cut by edgeprune and by Torch-Pruning."""

from __future__ import annotations

import copy
import importlib
import math
import sys
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.child import Notes, crash_text
from benchmarks.zoo.cutting import halved, kind_of
from benchmarks.zoo.jobs import ROOT
from benchmarks.zoo.peer import ignored_layers, prune_layer, pruner, roots
from edgeprune.graph.capture import capture
from edgeprune.graph.check import prove
from edgeprune.graph.couple import couple

PATTERNS = {
    "residual add": "residual_add",
    "dense concatenation and batch norm": "dense_concat",
    "depthwise convolution": "depthwise",
    "grouped convolution": "grouped",
    "squeeze and excite": "squeeze_excite",
    "flatten, channels first": "flatten_channels_first",
    "concatenation on the last axis of tokens": "cat_last_dim",
    "one module used twice": "module_used_twice",
    "scale parameter of shape (C, 1, 1)": "per_channel_scale",
    "concatenation of a tensor with itself": "concat_of_the_same",
    "stack and sum": "stack_sum",
    "attention written out": "mha_written_out",
    "FiLM": "film",
    "tied linear weights": "tied_linear",
    "channel shuffle": "channel_shuffle",
    "flatten, channels last": "flatten_channels_last",
    "concatenation with the input": "raw_input_concat",
    "chunk and concatenation": "chunk_cat",
    "split with constants": "split_constants",
    "slice and concatenation": "slice_cat",
    "view with constants": "view_constant",
    "depthwise convolution, multiplier 2": "depthwise_multiplier",
    "functional convolution of a parameter": "functional_conv",
    "scale and shift held in buffers": "buffers_only",
    "grouped transposed convolution": "grouped_transposed_conv",
    "weight norm": "weight_norm",
    "pixel shuffle": "pixel_shuffle",
    "GLU": "glu",
    "maxout": "maxout",
    "gate of one channel": "spatial_attention",
    "frozen layers": "frozen",
}
"""Pattern -> the situation of tests/zoo.py that shows it."""
SEVERITY = ("right", "prunes nothing", "wrong numbers", "crash")
_RIGHT = 1e-9


def probe(notes: Notes, situation: str) -> None:
    """One row of the table `patterns`: half of every free group by us, half of every layer by the peer."""
    network = situations()[situation]
    notes.doing("edgeprune", inputs=list(network.input_size))
    coupling = couple(capture(network.build(), network.input_size))
    proven = prove(coupling, halved(coupling.free()))
    notes.doing(
        "torch-pruning",
        error=proven.relative_error,
        refused_groups=proven.refused,
        free={group.id: [kind_of(group), group.units] for group in coupling.free()},
        locked={group.id: str(group.locked) for group in coupling.groups if group.locked},
    )
    verdict, detail = peer_verdict(network.build().double(), _example(network))
    notes.done(peer=verdict, peer_detail=detail)


def situations() -> dict[str, Any]:
    """The small networks of the tests, by name."""
    sys.path.insert(0, str(ROOT / "tests"))
    return dict(importlib.import_module("zoo").SITUATIONS)


def peer_verdict(module: nn.Module, example: Tensor) -> tuple[str, str]:
    """The worst of what happens layer by layer and in one whole pruning step, and where."""
    names = roots(module, ignored_layers(module, example))
    found = [_layer_verdict(module, example, name) for name in names]
    return worst([*found, _step_verdict(module, example)])


def worst(found: list[tuple[str, str]]) -> tuple[str, str]:
    """The most severe verdict; a layer that is refused does not matter where another one is pruned."""
    if {verdict for verdict, _ in found} <= {"right", "prunes nothing"}:
        # The whole step, which comes last, says whether anything goes.
        return found[-1]
    return max(found, key=lambda one: SEVERITY.index(one[0]))


def _layer_verdict(module: nn.Module, example: Tensor, name: str) -> tuple[str, str]:
    own = copy.deepcopy(module)
    try:
        difference = prune_layer(own, example, own.get_submodule(name))
    except Exception as error:  # the peer may raise anything
        return "crash", f"{name}: {crash_text(error)}"
    if difference is None:
        return "prunes nothing", name
    if math.isnan(difference):
        return "wrong numbers", f"{name}: the output has another shape"
    if difference > _RIGHT:
        return "wrong numbers", f"{name}: differs by {difference:.1e}"
    return "right", ""


def _step_verdict(module: nn.Module, example: Tensor) -> tuple[str, str]:
    own = copy.deepcopy(module)
    before = sum(one.numel() for one in own.parameters())
    shape = own(example).shape
    try:
        pruner(own, example, ignored_layers(own, example)).step()
        after = own(example)
    except Exception as error:  # the peer may raise anything
        return "crash", f"whole step: {crash_text(error)}"
    if after.shape != shape:
        return "wrong numbers", f"whole step: {list(shape)} became {list(after.shape)}"
    left = sum(one.numel() for one in own.parameters())
    return ("prunes nothing", "") if left == before else ("right", f"{before:,} -> {left:,} parameters")


def _example(network: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *network.input_size, generator=generator, dtype=torch.float64)

"""Consumers: a layer as rows times columns, and what follows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.consumers import (
    Consumer,
    consumers,
    norm_epsilon,
    norm_tensors,
    output_scale,
    outputs,
    patches,
    positions,
)
from edgeprune.graph.couple import Coupling
from edgeprune.graph.replay import observe
from graph.labels import situation, wired


def by_weight(coupling: Coupling) -> dict[str, Consumer]:
    return {one.weight: one for one in consumers(coupling)}


def values(coupling: Coupling, one: Consumer) -> tuple[Tensor, Tensor]:
    """What the layer reads and answers for two images."""
    seen: dict[Any, Tensor] = {}
    program = coupling.program
    observe(program, program.example(2), [one.source, one.node], seen.__setitem__)
    return seen[one.source], seen[one.node]


def check_product(coupling: Coupling, one: Consumer, source: Tensor, expected: Tensor) -> None:
    """Rows times columns give the layer's output, at all positions and at some."""
    weight = coupling.program.tensors()[one.weight].detach().flatten(1).T
    count = positions(one.node, source)
    for chosen in (None, torch.arange(count - 1, -1, -2)):
        rows = patches(one.node, source, chosen)
        wanted = outputs(one.node, expected, chosen)
        assert len(rows) == len(source) * (count if chosen is None else len(chosen))
        torch.testing.assert_close(rows @ weight, wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 1, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 2)},
        {"kernel_size": (1, 7), "padding": (0, 3)},
        {"kernel_size": 4, "stride": 4},
    ],
)
def test_patches_times_weight_is_the_convolution(options: dict[str, Any]) -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(3, 11, 12),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 5, bias=False, **options),
    )
    one = by_weight(coupling)["last.weight"]
    source, expected = values(coupling, one)

    check_product(coupling, one, source, expected)


@pytest.mark.parametrize("size", [(8,), (5, 8), (2, 3, 8)])
def test_patches_times_weight_is_the_linear_layer(size: tuple[int, ...]) -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(net.first(x))),
        *size,
        first=nn.Linear(8, 6),
        last=nn.Linear(6, 5, bias=False),
    )
    one = by_weight(coupling)["last.weight"]
    source, expected = values(coupling, one)

    check_product(coupling, one, source, expected)


def test_a_layer_knows_its_norm_and_the_sum_it_ends_in() -> None:
    found = by_weight(situation("residual_add"))["last.0.weight"]

    assert found.norm is not None
    assert norm_tensors(found.norm) == (
        "last.1.weight", "last.1.bias", "last.1.running_mean", "last.1.running_var",
    )  # fmt: skip
    assert norm_epsilon(found.norm) == 1e-5
    assert found.output is found.norm
    assert found.total is not None
    assert found.receiver is found.total
    assert found.partner is not None
    assert str(found.partner.target) == "aten.relu.default"
    assert found.has_intercept


def test_a_layer_without_norm_bias_or_sum_has_no_intercept() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)), 8, first=nn.Linear(8, 6), last=nn.Linear(6, 5, bias=False)
    )
    found = by_weight(coupling)["last.weight"]

    assert (found.norm, found.total, found.partner, found.bias) == (None, None, None, None)
    assert found.receiver is found.node
    assert not found.has_intercept


def test_the_scale_is_what_the_norm_multiplies_with() -> None:
    coupling = situation("residual_add")
    found, tensors = by_weight(coupling)["last.0.weight"], coupling.program.tensors()
    norm = found.norm
    assert norm is not None
    seen: dict[Any, Tensor] = {}
    observe(coupling.program, coupling.program.example(2), [found.node, norm], seen.__setitem__)

    scale = output_scale(found, tensors).float()[:, None, None]

    shift = (tensors["last.1.bias"] - tensors["last.1.running_mean"] * scale[:, 0, 0])[:, None, None]
    torch.testing.assert_close(seen[norm], seen[found.node] * scale + shift.detach())


@pytest.mark.parametrize("name", ["module_used_twice", "grouped", "depthwise", "conv1d", "transposed_conv"])
def test_layers_that_cannot_be_refitted_are_left_out(name: str) -> None:
    left_out = {
        "module_used_twice": "body.0.weight",
        "grouped": "1.0.weight",
        "depthwise": "1.0.weight",
        "conv1d": "4.weight",
        "transposed_conv": "1.weight",
    }

    assert left_out[name] not in by_weight(situation(name))

"""Consumers: a layer as rows times columns, and what follows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph.consumers import (
    Consumer,
    consumers,
    norm_epsilon,
    norm_tensors,
    output_scale,
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


def test_a_weight_that_two_layers_use_is_nobodys_to_change() -> None:
    assert "body.0.weight" not in by_weight(situation("module_used_twice"))


def test_a_bias_that_two_layers_use_is_nobodys_to_change() -> None:
    first, last, other = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)
    other.bias = last.bias
    coupling = wired(
        lambda net, x: net.last(y := net.first(x)) + net.other(y).relu(),
        *(3, 8, 8),
        first=first,
        last=last,
        other=other,
    )

    assert set(by_weight(coupling)) == {"first.weight"}


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("grouped", "1.0.weight"),
        ("depthwise", "1.0.weight"),
        ("conv1d", "4.weight"),
        ("transposed_conv", "1.weight"),
    ],
)
def test_grouped_depthwise_and_transposed_layers_are_consumers_too(name: str, weight: str) -> None:
    assert weight in by_weight(situation(name))


def test_a_partner_of_another_shape_is_no_residual_sum() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)) + net.scale,
        *(4, 8),
        first=nn.Linear(8, 6),
        last=nn.Linear(6, 5),
        scale=nn.Parameter(torch.ones(4, 5)),
    )

    assert by_weight(coupling)["last.weight"].total is None


def test_a_norm_along_the_tokens_is_not_the_layers() -> None:
    coupling = wired(
        lambda net, x: net.norm(net.last(net.first(x))),
        *(5, 8),
        first=nn.Linear(8, 6),
        last=nn.Linear(6, 5),
        norm=nn.BatchNorm1d(5),
    )

    assert by_weight(coupling)["last.weight"].norm is None

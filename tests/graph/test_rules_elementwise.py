"""Element-wise operators: operands that meet at an index are cut alike."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import pooled

from edgeprune.graph.check import prove
from graph.labels import classes, free, keeping, situation, why_locked, wired


def test_both_sides_of_a_sum_are_cut_together() -> None:
    coupling = situation("residual_add")

    assert classes(coupling, "stem.0.weight", 0) == classes(coupling, "last.0.weight", 0)
    assert classes(coupling, "head.weight", 1) == classes(coupling, "stem.0.weight", 0)


def test_a_sum_of_shifted_runs_chains_channels() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)[:, :4] + net.second(x)[:, 2:]),
        *(3, 8, 8),
        first=nn.Conv2d(3, 4, 1),
        second=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(4, 2, 1),
    )

    assert classes(coupling, "second.weight", 0)[2:] == classes(coupling, "first.weight", 0)


def test_a_channel_that_is_repeated_for_all_others_is_needed() -> None:
    assert why_locked(situation("broadcast_gate"), "both").startswith(
        "one index that is repeated for all others (aten.mul.Tensor, zoo.py:"
    )


def test_an_expanded_channel_is_needed() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).expand(-1, 6, -1, -1)),
        *(3, 8, 8),
        first=nn.Conv2d(3, 1, 1),
        last=nn.Conv2d(6, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("one index that is repeated for all others (aten.expand")


def test_a_parameter_per_pixel_or_for_all_couples_nothing() -> None:
    coupling = wired(
        lambda net, x: net.last((net.first(x) + net.place) * net.gain),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 1),
        place=nn.Parameter(torch.randn(8, 8)),
        gain=nn.Parameter(torch.randn(1)),
        last=nn.Conv2d(6, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert prove(coupling, keeping(coupling, first=(2,))).refused == {}


@pytest.mark.parametrize(
    "function",
    [
        F.relu6, F.hardswish, F.silu, F.elu, F.mish, F.softplus, torch.exp, torch.tanh, torch.sigmoid,
        lambda x: x.clamp(-1, 1), lambda x: x ** 2, lambda x: 1 - x, lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: torch.maximum(x, -x), lambda x: F.leaky_relu(x, 0.2, inplace=True),
        lambda x: x.add_(1).mul_(2), lambda x: x / (1 + x.abs()), lambda x: x.clone().detach(),
        lambda x: F.dropout2d(x, training=False),
    ],
)  # fmt: skip
def test_activations_pass_every_channel_on(function: object) -> None:
    assert callable(function)

    def wiring(net: nn.Module, x: Tensor) -> Tensor:
        return net.last(pooled(function(net.first(x))))

    coupling = wired(wiring, *(3, 6, 6), first=nn.Conv2d(3, 6, 3), last=nn.Linear(6, 4))

    assert free(coupling) == {"first": 6}
    assert prove(coupling, keeping(coupling, first=(1, 4))).refused == {}


def test_an_unknown_operator_locks_what_flows_into_it_with_the_users_line() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net.last(torch.logcumsumexp(net.first(x), 1))

    coupling = wired(forward, *(3, 6, 6), first=nn.Conv2d(3, 6, 3), last=nn.Conv2d(6, 4, 1))

    line = forward.__code__.co_firstlineno + 1
    assert why_locked(coupling, "first") == (
        f"read by an operator without a rule (aten.logcumsumexp.default, test_rules_elementwise.py:{line})"
    )

"""Tensors made in the forward follow the channels they meet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, why_locked, wired


def met(make: Callable[[Tensor], Tensor]) -> Coupling:
    """Six channels and two more made in the forward, joined, plus something of eight channels."""
    return wired(
        lambda net, x: net.last(torch.cat([net.first(x), make(x)], 1) + net.other(x)),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        other=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )


@pytest.mark.parametrize(
    ("make", "operator"),
    [
        (lambda x: torch.zeros(x.shape[0], 2, 4, 4), "aten.zeros.default"),
        (lambda x: torch.ones(x.shape[0], 2, 4, 4), "aten.ones.default"),
        (lambda x: torch.full((x.shape[0], 2, 4, 4), 0.7), "aten.full.default"),
        (lambda x: x.new_zeros(x.shape[0], 2, 4, 4), "aten.new_zeros.default"),
        (lambda x: x.new_ones(x.shape[0], 2, 4, 4), "aten.new_ones.default"),
        (lambda x: x.new_full((x.shape[0], 2, 4, 4), 0.7), "aten.new_full.default"),
    ],
)
def test_what_is_made_is_made_narrower(make: Callable[[Tensor], Tensor], operator: str) -> None:
    coupling = met(make)
    other = classes(coupling, "other.weight", 0)

    # The two made channels are units that the other convolution has alone.
    assert other[:6] == classes(coupling, "first.weight", 0)
    assert sorted(free(coupling).values()) == [2, 6]
    (made,) = (one for one in coupling.free() if one.units == 2)
    shrunk = shrink(coupling, keeping(coupling, **{made.id: (1,)}))
    (arguments,) = constants(shrunk.module, operator)
    sizes = next(one for one in arguments if isinstance(one, (list, tuple)))
    assert list(sizes)[1:] == [1, 4, 4]
    assert_exact(coupling)


def test_what_is_made_like_another_value_follows_it() -> None:
    coupling = wired(
        lambda net, x: net.last(
            net.first(x) + torch.full_like(net.first(x), 0.5) * torch.ones_like(net.first(x))
        ),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert_exact(coupling)


def test_numbers_that_count_channels_lock_what_they_meet() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) * torch.arange(6).view(1, 6, 1, 1)),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("meets an axis that cannot be cut (aten.mul.Tensor, ")

"""Indices in another order or number: every unit is followed to where it went."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.couple import Coupling
from graph.labels import assert_exact, classes, free, why_locked, wired


def moved(move: Callable[[Tensor], Tensor], channels: int = 8) -> Coupling:
    """A convolution, what is done to its channels, and a convolution that reads the result."""
    read = move(torch.zeros(1, channels, 4, 4)).shape[1]
    return wired(
        lambda net, x: net.last(move(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, channels, 1),
        last=nn.Conv2d(read, 2, 1),
    )


@pytest.mark.parametrize(
    ("move", "order"),
    [
        (lambda x: x.flip(1), [7, 6, 5, 4, 3, 2, 1, 0]),
        (lambda x: x.flip((1, 2, -1)), [7, 6, 5, 4, 3, 2, 1, 0]),
        (lambda x: x.flip(2), list(range(8))),
        (lambda x: x.roll(1, 2), list(range(8))),
        (lambda x: x.roll((1, -1), (2, 3)), list(range(8))),
        (lambda x: x.repeat(1, 2, 1, 1), [*range(8), *range(8)]),
        (lambda x: x.tile(1, 3, 1, 2), [*range(8)] * 3),
        (lambda x: x.repeat_interleave(2, 1), [one for one in range(8) for _ in range(2)]),
        (lambda x: x.repeat_interleave(2, dim=-1), list(range(8))),
        (lambda x: F.pixel_unshuffle(x, 2), [one for one in range(8) for _ in range(4)]),
    ],
)
def test_every_channel_is_followed(move: Callable[[Tensor], Tensor], order: list[int]) -> None:
    coupling = moved(move)
    first = classes(coupling, "first.weight", 0)

    assert classes(coupling, "last.weight", 1) == [first[place] for place in order]
    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


def test_pixels_that_become_one_channel_go_together() -> None:
    coupling = moved(lambda x: F.pixel_shuffle(x, 2))

    assert classes(coupling, "first.weight", 0) == [
        one for one in classes(coupling, "last.weight", 1) for _ in range(4)
    ]
    assert free(coupling) == {"first": 2}
    assert_exact(coupling)


def test_both_halves_of_a_gate_go_together() -> None:
    coupling = moved(lambda x: F.glu(x, 1))
    first = classes(coupling, "first.weight", 0)

    assert first[:4] == first[4:] == classes(coupling, "last.weight", 1)
    assert free(coupling) == {"first": 4}
    assert_exact(coupling)


def test_a_gate_over_space_leaves_the_channels_alone() -> None:
    coupling = moved(lambda x: F.glu(x, -1))

    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


@pytest.mark.parametrize(
    "move", [lambda x: x.roll(2, 1), lambda x: x.roll((1, 1), (1, 2)), lambda x: x.roll(3)]
)
def test_rolled_channels_are_locked(move: Callable[[Tensor], Tensor]) -> None:
    assert why_locked(moved(move), "first").startswith(
        "rolled along this axis (aten.roll.default, test_rules_rearranging.py:"
    )


def test_what_is_repeated_with_all_other_axes_is_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).mean(0).repeat_interleave(2).expand(x.shape[0], -1)),
        5,
        first=nn.Linear(5, 4),
        last=nn.Linear(8, 2),
    )

    assert free(coupling) == {}
    assert why_locked(coupling, "first").startswith("repeated with all other axes (aten.repeat_interleave")

"""Channel shuffles: any channel may go, and what is left is a shuffle where it still is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import pooled

from edgeprune.graph.capture import from_exported
from edgeprune.graph.check import prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, wired

Move = Callable[[Tensor], Tensor]


def viewed(x: Tensor) -> Tensor:
    return x.view(-1, 3, 4, 5, 5).transpose(1, 2).reshape(-1, 12, 5, 5)


def copied(x: Tensor) -> Tensor:
    return x.view(x.shape[0], 3, 4, 5, 5).permute(0, 2, 1, 3, 4).contiguous().view(x.shape[0], 12, 5, 5)


def flattened(x: Tensor) -> Tensor:
    return x.unflatten(1, (3, 4)).transpose(-3, -4).flatten(1, 2)


def by_operator(x: Tensor) -> Tensor:
    return F.channel_shuffle(x, 3)


SHUFFLES = [viewed, copied, flattened, by_operator]
ORDER = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def moved(move: Move) -> Coupling:
    return wired(
        lambda net, x: net.last(move(net.first(x))),
        *(3, 5, 5),
        first=nn.Conv2d(3, 12, 1),
        last=nn.Conv2d(12, 2, 1),
    )


def operators(coupling: Coupling, kept: tuple[int, ...]) -> list[str]:
    module = shrink(coupling, keeping(coupling, first=kept)).module
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("move", SHUFFLES)
def test_every_channel_is_followed_to_where_it_went(move: Move) -> None:
    coupling = moved(move)
    made = classes(coupling, "first.weight", 0)

    assert free(coupling) == {"first": 12}
    assert classes(coupling, "last.weight", 1) == [made[one] for one in ORDER]
    assert_exact(coupling)


@pytest.mark.parametrize("move", SHUFFLES)
@pytest.mark.parametrize(
    "kept", [(0, 2, 4, 6, 8, 10), (4, 5, 6, 7, 8, 9, 10, 11), (4, 5, 6, 7), (0, 4, 8), (1, 2, 5, 6, 9, 10)]
)
def test_a_shuffle_stays_one_where_its_groups_lose_the_same_places_or_whole_ones_go(
    move: Move, kept: tuple[int, ...]
) -> None:
    assert "aten.index_select.default" not in operators(moved(move), kept)


@pytest.mark.parametrize("move", SHUFFLES)
@pytest.mark.parametrize("kept", [(0, 1, 2, 4), (1, 2, 4, 8, 9), tuple(range(1, 12))])
def test_what_is_no_shuffle_any_more_becomes_an_order(move: Move, kept: tuple[int, ...]) -> None:
    coupling = moved(move)
    cuts = keeping(coupling, first=kept)
    proven = prove(coupling, cuts)

    left = [str(node.target) for node in proven.program.graph.nodes if node.op == "call_function"]
    assert left == ["aten.conv2d.default", "aten.index_select.default", "aten.conv2d.default"]
    assert proven.refused == {}


def test_the_sizes_of_both_views_follow() -> None:
    coupling = moved(viewed)

    shrunk = shrink(coupling, keeping(coupling, first=(0, 1, 4, 5, 8, 9)))

    assert constants(shrunk.module, "aten.view.default") == [([-1, 3, 2, 5, 5],)]
    assert constants(shrunk.module, "aten.reshape.default") == [([-1, 6, 5, 5],)]


@pytest.mark.parametrize("move", SHUFFLES)
@pytest.mark.parametrize("kept", [(0, 5, 6, 11), (0, 1, 4, 5, 8, 9), (0, 1, 2, 3)])
def test_the_cost_is_predicted_with_what_lies_between_the_views(move: Move, kept: tuple[int, ...]) -> None:
    coupling = moved(move)
    cuts = keeping(coupling, first=kept)

    shrunk = shrink(coupling, cuts)

    assert count(coupling, coupling.narrowed(cuts)) == count(couple(from_exported(shrunk.exported())))


@pytest.mark.parametrize("groups", [1, 8])
def test_a_shuffle_that_moves_nothing_locks_nothing(groups: int) -> None:
    coupling = wired(
        lambda net, x: net.last(F.channel_shuffle(net.first(x), groups)),
        *(3, 4, 4),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )

    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


def test_a_transpose_that_someone_else_reads_too_is_no_shuffle() -> None:
    """What lies between the views is read as it is, so its axes need labels of their own."""

    def move(x: Tensor) -> Tensor:
        between = x.view(-1, 3, 4, 5, 5).transpose(1, 2)
        return between.reshape(-1, 12, 5, 5) + between.sum((1, 2), keepdim=True).squeeze(1)

    assert_exact(moved(move))


def test_branches_that_pass_each_other_may_each_be_cut_alone() -> None:
    """ShuffleNetV2: one half waits while the other works, then they are shuffled."""

    def wiring(net: nn.Module, x: Tensor) -> Tensor:
        x = net.stem(x)
        for body in (net.one, net.two, net.three):
            waits, works = x.chunk(2, dim=1)
            x = F.channel_shuffle(torch.cat([waits, body(works)], 1), 2)
        return net.head(pooled(x))

    coupling = wired(
        wiring,
        *(3, 5, 5),
        stem=nn.Conv2d(3, 16, 1),
        one=nn.Conv2d(8, 8, 1),
        two=nn.Conv2d(8, 8, 1),
        three=nn.Conv2d(8, 8, 1),
        head=nn.Linear(16, 2),
    )

    assert sum(group.units for group in coupling.groups if not group.locked) == 16 + 8 + 8 + 8
    assert_exact(coupling)

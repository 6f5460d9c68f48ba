"""Reshaping: labels follow the index arithmetic of views, permutations and flattening."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, situation, why_locked, wired


def test_flattening_channels_first_repeats_each_channel_in_a_run() -> None:
    coupling = situation("flatten_channels_first")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.weight", 1) == [one for one in stem for _ in range(16)]


def test_flattening_channels_last_repeats_all_channels_at_each_place() -> None:
    coupling = situation("flatten_channels_last")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.weight", 1) == stem * 16


def units(coupling: Coupling, tensor: str, axis: int = 0) -> dict[str, list[list[int]]]:
    """For every free group the indices of a tensor's axis that each unit takes along."""
    return {
        group.id: piece.indices.tolist()
        for group in coupling.free()
        for piece in group.slices
        if (piece.tensor, piece.axis) == (tensor, axis)
    }


def test_the_constants_of_a_view_follow() -> None:
    coupling = situation("view_constant")

    shrunk = shrink(coupling, keeping(coupling, stem__0=(0, 5, 9)))

    assert constants(shrunk.module, "aten.view.default") == [([-1, 3, 64],)]


def test_the_sizes_of_an_unflatten_follow() -> None:
    coupling = situation("fused_qkv_chunked")

    shrunk = shrink(coupling, keeping(coupling, **{"qkv/width#2": (0, 5, 7), "qkv/heads": (1,)}))

    assert [one[-1] for one in constants(shrunk.module, "aten.unflatten.int")] == [[1, 8], [1, 8], [1, 3]]


def test_a_view_that_takes_rows_of_channels_apart_merges_what_it_joins() -> None:
    """Channels (4) and their 36 pixels become 16 rows of 9: a channel is four whole rows."""
    coupling = wired(
        lambda net, x: net.last(net.first(x).reshape(-1, 16, 9)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Conv1d(16, 2, 1),
    )

    assert free(coupling) == {"first": 4}
    assert units(coupling, "last.weight", 1) == {
        "first": [list(range(4 * one, 4 * one + 4)) for one in range(4)]
    }
    assert_exact(coupling)


def test_a_view_that_cuts_across_channels_locks_them() -> None:
    """Six channels of 4 pixels become 3 rows of 8: a row is two channels; 4 rows of 6 are none."""

    def network(rows: int) -> Coupling:
        return wired(
            lambda net, x: net.last(net.first(x).reshape(-1, rows, 24 // rows)),
            *(3, 2, 2),
            first=nn.Conv2d(3, 6, 1),
            last=nn.Conv1d(rows, 2, 1),
        )

    for rows in (3, 4):
        coupling = network(rows)
        if free(coupling):
            assert_exact(coupling)
        else:
            assert why_locked(coupling, "first")


def test_channels_merged_behind_the_batch_are_free() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).reshape(-1, 6, 6).mean((1, 2)).view(-1, 4)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Linear(4, 2),
    )

    assert free(coupling) == {"first": 4}
    shrunk = shrink(coupling, keeping(coupling, first=(0, 1, 3)))
    assert constants(shrunk.module, "aten.view.default")[-1] == ([-1, 3],)
    assert_exact(coupling)


def test_channels_merged_in_front_of_the_batch_are_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).transpose(0, 1).reshape(-1, 6, 6).mean((1, 2)).view(4, -1).t()),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Linear(4, 2),
    )

    assert why_locked(coupling, "first").startswith("merged with the batch (aten.")
    assert free(coupling) == {}


def test_sizes_that_are_computed_from_the_batch_are_left_to_be_inferred() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).reshape(x.shape[0] * 4, 36).mean(1).view(x.shape[0], 4)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Linear(4, 2),
    )
    shrunk = shrink(coupling, keeping(coupling, first=(1, 2)))

    assert free(coupling) == {"first": 4}
    for batch in (1, 3):
        assert [one.shape[0] for one in shrunk.answers(shrunk.examples(batch))] == [batch]
    assert_exact(coupling)


@pytest.mark.parametrize(
    ("sizes", "axis", "expected"),
    [
        ((3, 4), 1, [3, 4]),
        ((4, 3), 1, [3, 4]),
        ((2, 2, 3), 1, [2, 2, 3]),
        ((1, 12), 2, [12]),
        ((12, 1), 1, [12]),
    ],
)
def test_an_axis_that_is_split_is_cut_along_every_part(
    sizes: tuple[int, ...], axis: int, expected: list[int]
) -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).unflatten(1, sizes).flatten(1, len(sizes)) + net.first(x)),
        *(3, 4, 4),
        first=nn.Conv2d(3, 12, 1),
        last=nn.Conv2d(12, 2, 1),
    )

    assert sorted(free(coupling).values()) == expected
    assert_exact(coupling)


def test_two_splits_of_one_axis_leave_what_both_allow() -> None:
    """As 2 x 6 and as 3 x 4: the even or the odd channels are whole columns of either."""
    coupling = wired(
        lambda net, x: (
            net.last(net.first(x).unflatten(1, (2, 6)).sum(1))
            + net.more(net.first(x).unflatten(1, (3, 4)).sum(2))
        ),
        *(3, 4, 4),
        first=nn.Conv2d(3, 12, 1),
        last=nn.Conv2d(6, 2, 1),
        more=nn.Conv2d(3, 2, 1),
    )

    (parity,) = (one for one in coupling.free() if one.units == 2)
    rows = units(coupling, "first.weight")
    assert rows[parity.id] == [list(range(0, 12, 2)), list(range(1, 12, 2))]
    assert_exact(coupling)


def test_axes_of_size_one_come_and_go() -> None:
    coupling = wired(
        lambda net, x: net.last(
            net.first(x).mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1).unsqueeze(1).squeeze().view(-1, 6)
        ),
        *(3, 6, 6),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Linear(6, 2),
    )

    assert classes(coupling, "last.weight", 1) == classes(coupling, "first.weight", 0)
    assert prove(coupling, keeping(coupling, first=(0, 2, 3))).refused == {}


def test_maxout_gives_up_units_or_the_same_piece_of_all() -> None:
    coupling = situation("maxout")

    assert units(coupling, "body.weight") == {
        "body": [[2 * one, 2 * one + 1] for one in range(8)],
        "body#2": [list(range(piece, 16, 2)) for piece in range(2)],
    }
    assert units(coupling, "head.weight", 1) == {"body": [[one] for one in range(8)]}


def test_windows_of_tokens_pass_the_channels() -> None:
    assert free(situation("window_attention")) == {"stem": 12, "qkv/width": 8, "qkv/width#2": 8, "body": 20}


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.movedim(1, -1),
        lambda x: x.movedim((1, 2), (3, 1)),
        lambda x: x.transpose(1, 2).transpose(2, 3),
        lambda x: x.swapaxes(1, 3),
        lambda x: x.flatten(2).mT.unflatten(1, (4, 4)),
        lambda x: x.unsqueeze(-1).squeeze(-1).permute(0, -2, -1, 1),
        lambda x: x.view_as(x).reshape_as(x).permute(0, 2, 3, 1),
    ],
)
def test_axes_in_another_order_take_their_channels_along(move: Callable[[Tensor], Tensor]) -> None:
    coupling = wired(
        lambda net, x: net.last(move(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Linear(6, 2),
    )

    assert classes(coupling, "last.weight", 1) == classes(coupling, "first.weight", 0)
    assert free(coupling) == {"first": 6}
    assert_exact(coupling)

"""Reshaping: labels follow the index arithmetic of views, permutations and flattening."""

from __future__ import annotations

from torch import nn

from edgeprune.graph.check import prove
from edgeprune.graph.surgery import shrink
from graph.labels import classes, constants, free, keeping, situation, why_locked, wired


def test_flattening_channels_first_repeats_each_channel_in_a_run() -> None:
    coupling = situation("flatten_channels_first")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.weight", 1) == [one for one in stem for _ in range(16)]


def test_flattening_channels_last_repeats_all_channels_at_each_place() -> None:
    coupling = situation("flatten_channels_last")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.weight", 1) == stem * 16


def test_a_shuffle_moves_channels_and_couples_those_that_change_places() -> None:
    coupling = situation("channel_shuffle")
    stem = classes(coupling, "stem.0.weight", 0)

    assert stem[:8] == stem[8:]
    assert classes(coupling, "body.0.weight", 1) == [one for one in stem[:8] for _ in range(2)]


def test_the_constants_of_a_view_follow() -> None:
    coupling = situation("view_constant")

    shrunk = shrink(coupling, keeping(coupling, stem__0=(0, 5, 9)))

    assert constants(shrunk.module, "aten.view.default") == [([-1, 3, 64],)]


def test_the_sizes_of_an_unflatten_follow() -> None:
    coupling = situation("fused_qkv_chunked")

    shrunk = shrink(coupling, keeping(coupling, **{"qkv#2": (0, 5, 7)}))

    assert [one[-1] for one in constants(shrunk.module, "aten.unflatten.int")] == [[2, 8], [2, 8], [2, 3]]


def test_a_view_that_mixes_channels_with_space_is_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).reshape(-1, 16, 9)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Conv1d(16, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("reshaped together with other axes (aten.")
    assert free(coupling) == {}


def test_channels_merged_with_the_batch_are_locked() -> None:
    coupling = wired(
        lambda net, x: net.first(x).reshape(-1, 6, 6).mean((1, 2)).view(-1, 4),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
    )

    assert why_locked(coupling, "first").startswith("merged with the batch (aten.")


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


def test_maxout_pieces_go_together() -> None:
    coupling = situation("maxout")
    body = classes(coupling, "body.weight", 0)

    assert body[::2] == body[1::2] == classes(coupling, "head.weight", 1)


def test_windows_of_tokens_pass_the_channels() -> None:
    assert free(situation("window_attention")) == {"stem": 12, "qkv#2": 8, "body": 20}

"""Joining and dividing: offsets, constants and parts follow the channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, pooled

from edgeprune.graph.check import prove
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, situation, why_locked, wired


def test_a_concatenation_puts_labels_one_after_the_other() -> None:
    coupling = situation("dense_concat")
    stem, one, two = (classes(coupling, f"{name}.0.weight", 0) for name in ("stem", "one", "two"))

    assert classes(coupling, "two.0.weight", 1) == stem + one
    assert classes(coupling, "head.weight", 1) == stem + one + two


def test_the_raw_input_keeps_its_place_in_a_concatenation() -> None:
    coupling = situation("raw_input_concat")
    body = classes(coupling, "body.0.weight", 1)

    assert body[3:] == classes(coupling, "stem.0.weight", 0)
    assert body[:3] == classes(coupling, "stem.0.weight", 1)


def test_the_same_value_joined_twice_is_cut_twice() -> None:
    coupling = situation("concat_of_the_same")
    (group,) = (one for one in coupling.groups if one.id == "stem.0")
    (reader,) = group.of_role("consumer")

    assert reader.indices.tolist() == [[unit, unit + 8] for unit in range(8)]


def test_parts_of_a_chunk_are_groups_of_their_own() -> None:
    coupling = situation("chunk_cat")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.0.weight", 1) == stem[8:]
    assert classes(coupling, "last.0.weight", 1) == stem[:8] + classes(coupling, "body.0.weight", 0)


def test_the_sizes_of_a_chunk_are_written_out() -> None:
    coupling = situation("chunk_cat")

    shrunk = shrink(coupling, keeping(coupling, **{"stem__0": (0, 1, 2), "stem__0#2": (7,)}))

    assert constants(shrunk.module, "aten.split_with_sizes.default") == [([3, 1], 1)]


def test_the_sizes_of_a_split_follow() -> None:
    coupling = situation("split_constants")

    shrunk = shrink(coupling, keeping(coupling, stem__0=(0, 11)))

    assert constants(shrunk.module, "aten.split_with_sizes.default") == [([2, 4], 1)]


def test_the_bounds_of_a_slice_move_by_what_went_before() -> None:
    coupling = situation("slice_cat")
    stem = classes(coupling, "stem.0.weight", 0)
    assert classes(coupling, "body.0.weight", 1) == stem[4:] + stem[:8]

    first = stem.index(classes(coupling, "body.0.weight", 1)[0])
    assert first == 4
    # Channels 4 to 7 are read by both slices: a unit of that group holds two columns of the reader.
    (both,) = (one for one in coupling.groups if one.units == 4)
    shrunk = shrink(coupling, keeping(coupling, **{both.id.replace(".", "__"): (0, 3)}))

    bounds = [one[-2:] for one in constants(shrunk.module, "aten.slice.Tensor") if one[0] == 1]
    assert bounds == [(4, 14), (0, 6)]


def test_a_slice_with_a_step_takes_every_other_channel() -> None:
    coupling = situation("slice_with_a_step")
    stem = classes(coupling, "stem.0.weight", 0)

    assert classes(coupling, "body.0.weight", 1) == stem[::2]
    assert_exact(coupling)


def test_what_a_step_takes_is_written_as_positions_once_it_is_cut() -> None:
    coupling = situation("slice_with_a_step")
    read, unread = sorted(
        (group for group in coupling.free() if group.id.startswith("stem.0")),
        key=lambda group: "body.0.weight" not in {piece.tensor for piece in group.slices},
    )

    uncut = shrink(coupling, keeping(coupling, body__0=(0,)))
    shrunk = shrink(coupling, keeping(coupling, **{read.id: (0, 2, 7), unread.id: (0, 1, 2, 3)}))

    assert constants(uncut.module, "aten.slice.Tensor")[-1][-1] == 2
    # Of channels 0 1 3 4 5 7 14 the even ones stand at these places.
    (positions,) = (one for name, one in shrunk.tensors().items() if name.endswith("_positions"))
    assert positions.tolist() == [0, 3, 6]
    assert shrunk.tensors()["stem.0.weight"].shape[0] == 7


@pytest.mark.parametrize("bounds", [slice(1, 11, 3), slice(2, None, 5), slice(-9, -1, 2), slice(0, 1, 4)])
def test_steps_with_any_bounds_are_exact(bounds: slice) -> None:
    coupling = wired(
        lambda net, x: net.last(
            pooled(net.body(net.first(x)[:, bounds]) + net.first(x)[:, -1:].sum(1, keepdim=True))
        ),
        *(3, 4, 4),
        first=nn.Conv2d(3, 12, 1),
        body=nn.Conv2d(len(range(12)[bounds]), 6, 1),
        last=nn.Linear(6, 2),
    )

    assert classes(coupling, "body.weight", 1) == classes(coupling, "first.weight", 0)[bounds]
    assert_exact(coupling)


def test_stacked_values_go_together_along_every_old_axis() -> None:
    coupling = situation("stack_sum")

    assert classes(coupling, "one.0.weight", 0) == classes(coupling, "two.0.weight", 0)
    assert classes(coupling, "one.0.weight", 0) == classes(coupling, "head.weight", 1)
    assert_exact(coupling)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_the_new_axis_of_a_stack_is_never_cut(axis: int) -> None:
    coupling = wired(
        lambda net, x: net.last(torch.stack([net.one(x), net.two(x)], axis).flatten(1)),
        *(5,),
        one=nn.Linear(5, 4),
        two=nn.Linear(5, 4),
        last=nn.Linear(8, 2),
    )
    one = classes(coupling, "one.weight", 0)

    assert classes(coupling, "last.weight", 1) == (
        one * 2 if axis == 1 else [x for x in one for _ in range(2)]
    )
    assert free(coupling) == {"one": 4}
    assert_exact(coupling)


def test_unbound_channels_are_locked_and_other_axes_pass() -> None:
    coupling = wired(
        lambda net, x: (
            net.last(sum(net.first(x).unbind(2)))
            + torch.stack(net.other(x).unbind(1), 1).sum(1, keepdim=True).mean(2)
        ),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        other=nn.Conv2d(3, 5, 1),
        last=nn.Conv1d(6, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert why_locked(coupling, "other").startswith(
        "every index of this axis is a value of its own (aten.unbind.int, test_rules_joining.py:"
    )
    assert_exact(coupling)


ORDER = torch.tensor([6, 1, 1, 6, 3])


@pytest.mark.parametrize("how", ["index", "index_select"])
def test_picked_channels_are_counted_anew_after_a_cut(how: str) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x)
        x = x[:, net.order] if how == "index" else x.index_select(1, net.order)
        return net.last(F.relu(x))

    coupling = wired(wiring, *(3, 4, 4), first=nn.Conv2d(3, 8, 1), order=ORDER, last=nn.Conv2d(5, 2, 1))
    first = classes(coupling, "first.weight", 0)
    assert classes(coupling, "last.weight", 1) == [first[place] for place in (6, 1, 1, 6, 3)]

    groups = {group.id: group for group in coupling.free()}
    (twice,) = (one for one in groups.values() if 2 in {piece.indices.shape[1] for piece in one.slices})
    assert [piece.indices.tolist() for piece in twice.slices if piece.tensor == "last.weight"] == [
        [[1, 2], [0, 3]]
    ]
    shrunk = shrink(coupling, keeping(coupling, **{twice.id: (1,)}))
    (positions,) = (one for name, one in shrunk.tensors().items() if name.endswith("_positions"))
    assert positions.tolist() == [5, 5, 2]
    uncut = shrink(coupling, ())
    assert torch.equal(uncut.tensors()["order"], ORDER)
    assert_exact(coupling)


def test_channels_picked_by_what_is_computed_are_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)[:, net.order + 1]),
        *(3, 4, 4),
        first=nn.Conv2d(3, 8, 1),
        order=torch.tensor([0, 3, 5]),
        last=nn.Conv2d(3, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("picked by index (aten.index.Tensor, ")


def test_pixels_that_are_picked_lock_no_channel() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)[:, :, net.rows, net.columns]),
        *(3, 4, 4),
        first=nn.Conv2d(3, 8, 1),
        rows=torch.tensor([0, 2]),
        columns=torch.tensor([1, 3]),
        last=nn.Conv1d(8, 2, 1),
    )

    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


@pytest.mark.parametrize(
    "way", [lambda x: x.tensor_split(3, 1), lambda x: x.tensor_split([2, 5], 1), lambda x: x.chunk(3, 1)]
)
def test_uneven_parts_are_written_out(way: Callable[[Tensor], Sequence[Tensor]]) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        first, second, third = way(net.first(x))
        return net.last(torch.cat([third, net.body(first), second], 1))

    sizes = [one.shape[1] for one in way(torch.zeros(1, 8))]
    coupling = wired(
        wiring,
        *(3, 4, 4),
        first=nn.Conv2d(3, 8, 1),
        body=nn.Conv2d(sizes[0], 4, 1),
        last=nn.Conv2d(12 - sizes[0], 2, 1),
    )

    # The second and third part are read by one layer: one group.
    assert sorted(free(coupling).values()) == sorted([sizes[0], sizes[1] + sizes[2], 4])
    assert_exact(coupling)


def test_negative_bounds_and_axes_are_counted_from_the_end() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)[..., -4:, :, :][:, :-1]),
        *(3, 6, 6),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(3, 2, 1),
    )

    assert classes(coupling, "last.weight", 1) == classes(coupling, "first.weight", 0)[4:7]
    cuts = keeping(coupling, **{one.id: (0, one.units - 1) for one in coupling.free()})
    assert prove(coupling, cuts).refused == {}


def test_a_selected_channel_is_locked_and_its_index_moves() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) * net.first(x)[:, 5].unsqueeze(1) + net.first(x)[:, -1:]),
        *(3, 6, 6),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    assert {group.units for group in coupling.free()} == {6}
    locked = [group for group in coupling.groups if group.locked and group.id.startswith("first")]
    assert {group.units for group in locked} == {1}
    assert any("this index of the axis is selected (aten.select.int, " in str(one.locked) for one in locked)

    # Of channels 0 to 4 and 6 stay 1, 4 and 6; 5 and 7 stay anyway.
    (rest,) = coupling.free()
    shrunk = shrink(coupling, keeping(coupling, **{rest.id: (1, 4, 5)}))
    assert constants(shrunk.module, "aten.select.int") == [(1, 2)]
    assert_exact(coupling)


def test_a_selected_index_from_the_end_moves_too() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) * net.first(x)[:, -2].unsqueeze(1)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    (rest,) = coupling.free()

    shrunk = shrink(coupling, keeping(coupling, **{rest.id: (0, 6)}))

    assert constants(shrunk.module, "aten.select.int") == [(1, 1)]
    assert_exact(coupling)


def test_a_joined_axis_that_is_never_cut_keeps_its_place() -> None:
    coupling = wired(
        lambda net, x: net.last(torch.cat([net.first(x), x.mean(1).unsqueeze(1).expand(-1, 2, -1, -1)], 1)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 8, 1),
        last=nn.Conv2d(10, 2, 1),
    )

    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


def test_a_selected_token_locks_nothing() -> None:
    assert "up" in free(situation("layer_norm_mlp"))

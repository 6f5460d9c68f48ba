"""Joining and dividing: offsets, constants and parts follow the channels."""

from __future__ import annotations

from torch import nn

from edgeprune.graph.check import prove
from edgeprune.graph.surgery import shrink
from graph.labels import classes, constants, free, keeping, situation, why_locked, wired


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


def test_a_slice_with_a_step_is_locked_and_keeps_its_step() -> None:
    coupling = situation("slice_with_a_step")

    shrunk = shrink(coupling, keeping(coupling, body__0=(0,)))

    assert why_locked(coupling, "stem.0").startswith("sliced with a step (aten.slice.Tensor, zoo.py:")
    assert constants(shrunk.module, "aten.slice.Tensor")[-1][-1] == 2


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


def test_a_selected_channel_is_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)[:, 2:3] + net.first(x)[:, 1].unsqueeze(1)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(1, 2, 1),
    )

    assert free(coupling) == {}
    assert why_locked(coupling, "first").startswith("one index of this axis is selected (aten.select.int, ")


def test_a_selected_token_locks_nothing() -> None:
    assert "up" in free(situation("layer_norm_mlp"))

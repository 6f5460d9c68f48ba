"""Coupling: every index has one place, and a plan that does not fit is refused."""

from __future__ import annotations

import pytest
from torch import nn
from zoo import SITUATIONS

from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Cut
from graph.labels import situation, wired


@pytest.mark.parametrize(
    "name", ["concat_split", "chunk_cat", "grouped_residual", "tied_linear", "mha_many_heads"]
)
def test_no_index_belongs_to_two_units(name: str) -> None:
    coupling = situation(name)
    taken = [
        (piece.tensor, piece.axis, index)
        for group in coupling.groups
        for piece in group.slices
        for index in piece.indices.ravel().tolist()
    ]

    assert len(taken) == len(set(taken))
    assert len({group.id for group in coupling.groups}) == len(coupling.groups)


def test_every_slice_has_a_row_for_every_unit() -> None:
    for group in situation("slice_cat").groups:
        assert {len(piece.indices) for piece in group.slices} == {group.units}


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (
            Cut(group="nobody", units=4, kept=(0,)),
            "plan: group 'nobody' has 4 units there, no such group in this network",
        ),
        (
            Cut(group="stem.0", units=9, kept=(0, 8)),
            "plan: group 'stem.0' has 9 units there, 16 units in this network",
        ),
        (
            Cut(group="head", units=10, kept=(0,)),
            "plan: group 'head' is locked: the network's output (output)",
        ),
    ],
)
def test_a_cut_that_does_not_fit_is_refused(cut: Cut, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        situation("residual_add").narrowed([cut])

    assert caught.value.message == message


def test_a_cut_narrows_the_labels_of_its_group_only() -> None:
    coupling = situation("residual_add")

    narrowed = coupling.narrowed([Cut(group="body.0", units=12, kept=(0, 1, 2))])

    widths = {name: [narrowed.count(one, 0) for one in axes[:2]] for name, axes in coupling.tensors.items()}
    assert widths["body.0.weight"] == [3, 16]
    assert widths["last.0.weight"] == [16, 3]


def test_a_group_of_one_unit_is_not_offered() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)), 3, 8, 8, first=nn.Conv2d(3, 1, 1), last=nn.Conv2d(1, 2, 1)
    )

    assert [group.id for group in coupling.groups if group.locked is None] == ["first"]
    assert coupling.free() == []


def test_coupling_twice_gives_the_same_groups() -> None:
    first, second = situation("dense_concat"), situation("dense_concat")

    assert [(one.id, one.units) for one in first.groups] == [(one.id, one.units) for one in second.groups]


def test_the_zoo_holds_what_the_design_promises() -> None:
    promised = {
        "residual_add", "concat_split", "channel_shuffle", "depthwise_multiplier", "grouped", "tied_linear",
        "fused_qkv", "window_attention", "pixel_shuffle", "squeeze_excite", "flatten_channels_last",
        "raw_input_concat", "buffers_only", "functional_conv",
    }  # fmt: skip

    assert promised <= set(SITUATIONS)

"""Coupling: every index has one place, and a plan that does not fit is refused."""

from __future__ import annotations

import pytest
from torch import nn
from zoo import SITUATIONS

from edgeprune.core.errors import DocumentError, RequestError
from edgeprune.core.plan import Cut
from edgeprune.graph.couple import couple
from graph.labels import situation, wired


@pytest.mark.parametrize("name", SITUATIONS)
def test_no_index_belongs_to_two_units_of_one_group(name: str) -> None:
    groups = situation(name).groups
    for group in groups:
        for piece in group.slices:
            rows = [set(row) for row in piece.indices.tolist()]
            assert sum(map(len, rows)) == len(set().union(*rows))
    assert len({group.id for group in groups}) == len(groups)


@pytest.mark.parametrize("name", ["concat_split", "chunk_cat", "tied_linear", "residual_add"])
def test_channels_belong_to_one_group_alone(name: str) -> None:
    taken = [
        (piece.tensor, piece.axis, index)
        for group in situation(name).groups
        for piece in group.slices
        for index in piece.indices.ravel().tolist()
    ]

    assert len(taken) == len(set(taken))


def test_a_head_and_a_dimension_of_all_heads_share_indices() -> None:
    coupling = situation("mha_many_heads")
    rows = {
        group.id: next(piece for piece in group.slices if piece.tensor == "query.weight" and piece.axis == 0)
        for group in coupling.free("heads", "width")
        if any(piece.tensor == "query.weight" and piece.axis == 0 for piece in group.slices)
    }

    assert rows["query/heads"].indices.tolist() == [[2 * head, 2 * head + 1] for head in range(8)]
    assert rows["query/width"].indices.tolist() == [list(range(place, 16, 2)) for place in range(2)]


def test_kinds_are_told_apart_and_asked_for() -> None:
    kinds = {group.id: group.kind for group in situation("grouped").free()}
    assert kinds == {"0.0/groups": "groups", "0.0": "channels", "1.0": "channels", "2.0": "channels"}
    kinds = {group.id: group.kind for group in situation("fused_qkv").free()}
    assert kinds == {"embed": "channels", "qkv/heads": "heads", "qkv/width": "width"}
    assert [group.id for group in situation("fused_qkv").free("heads")] == ["qkv/heads"]
    assert [group.kind for group in situation("residual_blocks").free("blocks")] == ["blocks"]


def test_what_is_inexact_is_locked_until_it_is_allowed_and_says_so() -> None:
    (locked,) = (group for group in situation("layer_norm_mlp").groups if group.id == "embed")
    (allowed,) = (group for group in situation("layer_norm_allowed").groups if group.id == "embed")

    assert locked.locked is not None
    assert locked.locked.inexact == "layer_norm"
    assert allowed.locked is None
    assert allowed.inexact == ("layer_norm",)


def test_what_nothing_frees_is_not_called_inexact() -> None:
    reasons = [group.locked for group in situation("layer_norm_allowed").groups if group.locked]

    assert [(reason.why, reason.inexact) for reason in reasons] == [("the network's output", "")]


def test_only_inexact_operators_can_be_allowed() -> None:
    program = situation("residual_add").program
    with pytest.raises(RequestError) as caught:
        couple(program, ("layernorm",))
    assert caught.value.message == "'layernorm' is no inexact operator that can be allowed"
    assert caught.value.hint == "did you mean 'layer_norm'?"
    with pytest.raises(RequestError) as caught:
        couple(program, ("gelu",))
    assert caught.value.hint == "one of: layer_norm, group_norm"


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

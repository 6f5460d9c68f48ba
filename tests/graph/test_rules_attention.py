"""Products of activations: rows and columns pass, what is summed over is cut on both sides at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, attend, attention_parts

from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, free, halves, keeping, situation, why_locked, wired

WRITTEN = ["mha_written_out", "scaled_dot_product", "einsum_attention", "batched_heads"]


def rows(coupling: Coupling, group: str, tensor: str) -> list[list[int]]:
    """The output rows of a layer that each unit of a group takes along."""
    (found,) = (one for one in coupling.groups if one.id == group)
    (piece,) = (one for one in found.slices if one.tensor == tensor and one.axis == 0)
    return piece.indices.tolist()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_dimension_goes_from_all_heads_and_a_head_as_a_whole(name: str) -> None:
    coupling = situation(name)
    dimensions = [[place, place + 8] for place in range(8)]
    heads = [list(range(8)), list(range(8, 16))]

    for tensor in ("query.weight", "key.weight", "query.bias", "key.bias"):
        assert rows(coupling, "query/width", tensor) == dimensions
        assert rows(coupling, "query/heads", tensor) == heads
    assert rows(coupling, "value/width", "value.weight") == dimensions
    assert rows(coupling, "query/heads", "value.weight") == heads
    (found,) = (one for one in coupling.groups if one.id == "query/heads")
    readers = {piece.tensor: piece.indices.tolist() for piece in found.of_role("consumer")}
    assert readers == {"project.weight": heads}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_way_to_write_attention_couples_alike(name: str) -> None:
    assert free(situation(name)) == {"embed": 16, "query/heads": 2, "query/width": 8, "value/width": 8}


def test_a_fused_projection_gives_one_group_of_heads_for_query_key_and_value() -> None:
    coupling = situation("fused_qkv")

    assert rows(coupling, "qkv/heads", "qkv.weight") == [
        [16 * part + 8 * head + place for part in range(3) for place in range(8)] for head in range(2)
    ]


def test_the_width_of_values_need_not_be_that_of_queries() -> None:
    coupling = situation("fused_qkv_chunked")

    assert rows(coupling, "qkv/width", "qkv.weight") == [
        [place, place + 8, place + 16, place + 24] for place in range(8)
    ]
    assert rows(coupling, "qkv/width#2", "qkv.weight") == [[32 + place, 40 + place] for place in range(8)]


@pytest.mark.parametrize("name", ["scaled_dot_product", "grouped_query_attention", "multihead_attention"])
def test_a_narrower_head_keeps_the_scale_it_was_trained_with(name: str) -> None:
    coupling = situation(name)
    (width,) = (one for one in coupling.free("width") if "value" not in one.id)
    operator = "aten.scaled_dot_product_attention.default"

    def scales(cuts: tuple) -> list[object]:
        nodes = shrink(coupling, cuts).graph.nodes
        return [one.kwargs.get("scale") for one in nodes if str(one.target) == operator]

    assert scales(keeping(coupling, **{width.id: (0, 2)})) == [width.units**-0.5]
    assert scales(halves(coupling, "heads")) == [None]


def test_a_scale_that_is_written_out_stays() -> None:
    coupling = wired(
        lambda net, x: net.last(
            F.scaled_dot_product_attention(net.query(x), net.key(x), net.value(x), scale=0.3)
        ),
        *(5, 6),
        query=nn.Linear(6, 8),
        key=nn.Linear(6, 8),
        value=nn.Linear(6, 7),
        last=nn.Linear(7, 3),
    )

    assert free(coupling) == {"query/width": 8, "value/width": 7}
    shrunk = shrink(coupling, halves(coupling))
    (node,) = (one for one in shrunk.graph.nodes if "scaled_dot" in str(one.target))
    assert node.kwargs["scale"] == 0.3
    assert_exact(coupling)


def test_query_heads_that_share_a_key_go_with_it_or_one_from_every_key() -> None:
    coupling = situation("grouped_query_attention")
    groups = {one.id: one for one in coupling.free("heads")}
    found = sorted(rows(coupling, name, "query.weight") for name in groups)

    # Query heads 0 and 1 share the first key, 2 and 3 the second.
    shared = [list(range(8)), list(range(8, 16))]
    own = [[*range(4), *range(8, 12)], [*range(4, 8), *range(12, 16)]]
    assert found == sorted([shared, own])
    with_keys = [name for name, one in groups.items() if "key.weight" in {x.tensor for x in one.slices}]
    assert [rows(coupling, name, "key.weight") for name in with_keys] == [[list(range(4)), list(range(4, 8))]]
    assert rows(coupling, with_keys[0], "query.weight") == shared
    assert_exact(coupling)


def test_a_mask_with_an_entry_for_each_head_follows_the_heads() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).view(-1, 6, 4, 3).transpose(1, 2) for layer in (net.query, net.key, net.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=net.mask)
        return net.head((net.project(mixed.transpose(1, 2).reshape(-1, 6, 12))).mean(1))

    parts = attention_parts(12)
    parts.pop("embed")
    coupling = wired(wiring, 6, 12, mask=nn.Parameter(torch.randn(4, 6, 6)), **parts)
    narrow = shrink(coupling, keeping(coupling, **{"query/heads": (1, 3)}))

    assert torch.equal(narrow.tensors()["mask"], coupling.program.tensors()["mask"][[1, 3]])
    assert "the network" not in str(free(coupling))
    assert_exact(coupling)


def test_positions_that_attend_to_each_other_are_locked() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        tokens = net.stem(x).transpose(1, 2)
        tokens = tokens.transpose(1, 2)
        return net.head(F.scaled_dot_product_attention(tokens, tokens, tokens).mean(1))

    coupling = wired(wiring, *(3, 8), stem=nn.Conv1d(3, 6, 1), head=nn.Linear(8, 2))

    assert why_locked(coupling, "stem").startswith(
        "positions that attend to each other "
        "(aten.scaled_dot_product_attention.default, test_rules_attention.py:"
    )


def test_a_batch_merged_with_heads_follows_both_ways() -> None:
    coupling = situation("batched_heads")
    narrow = shrink(coupling, keeping(coupling, **{"query/heads": (1,), "query/width": (0, 5)}))

    assert narrow.tensors()["query.weight"].shape == (2, 16)
    assert [tuple(one.shape) for one in narrow.answers(narrow.examples(3))] == [(3, 10)]
    assert_exact(coupling)


def test_heads_that_talk_to_each_other_are_the_channels_of_a_layer() -> None:
    """Scores of all heads are mixed by a linear layer over the axis of heads, as in CaiT."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        query, key, value = (
            layer(x).view(-1, 6, 4, 3).transpose(1, 2) for layer in (net.query, net.key, net.value)
        )
        scores = net.before((query @ key.mT * 3**-0.5).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        scores = net.after(scores.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return net.head(net.project((scores @ value).transpose(1, 2).reshape(-1, 6, 12)).mean(1))

    parts = attention_parts(12)
    parts.pop("embed")
    coupling = wired(wiring, 6, 12, before=nn.Linear(4, 4), after=nn.Linear(4, 4), **parts)

    # Heads of queries and keys, of the softmax, and of the values are three groups.
    assert classes(coupling, "before.weight", 1) != classes(coupling, "before.weight", 0)
    assert classes(coupling, "before.weight", 0) == classes(coupling, "after.weight", 1)
    assert sorted(one.units for one in coupling.free() if one.units == 4) == [4, 4, 4]
    assert_exact(coupling)


def test_a_product_with_a_parameter_is_a_layer() -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(net.first(x) @ net.matrix)),
        *(5, 6),
        first=nn.Linear(6, 8),
        matrix=nn.Parameter(torch.randn(8, 7)),
        last=nn.Linear(7, 3),
    )

    assert classes(coupling, "matrix", 0) == classes(coupling, "first.weight", 0)
    assert classes(coupling, "matrix", 1) == classes(coupling, "last.weight", 1)
    assert free(coupling) == {"first": 8, "matrix": 7}
    assert_exact(coupling)


def test_a_product_with_a_transposed_parameter_follows_what_it_reads() -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(net.first(x) @ net.matrix.t())),
        *(5, 6),
        first=nn.Linear(6, 8),
        matrix=nn.Parameter(torch.randn(7, 8)),
        last=nn.Linear(7, 3),
    )

    assert classes(coupling, "matrix", 1) == classes(coupling, "first.weight", 0)
    assert 8 in free(coupling).values()
    assert_exact(coupling)


def test_a_parameter_on_the_left_reads_rows_and_gives_rows() -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(torch.matmul(net.matrix, net.first(x)))),
        *(3, 8),
        first=nn.Conv1d(3, 6, 1),
        matrix=nn.Parameter(torch.randn(7, 6)),
        last=nn.Conv1d(7, 2, 1),
    )

    assert free(coupling) == {"first": 6, "matrix": 7}
    (group,) = (one for one in coupling.groups if one.id == "matrix")
    assert [(one.tensor, one.axis) for one in group.of_role("producer")] == [("matrix", 0)]
    assert_exact(coupling)


def test_a_product_with_a_vector_reads_its_axis_and_ends_it() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) @ net.vector),
        *(5, 6),
        first=nn.Linear(6, 4),
        vector=nn.Parameter(torch.randn(4)),
        last=nn.Linear(5, 3),
    )

    assert free(coupling) == {"first": 4}
    assert classes(coupling, "vector", 0) == classes(coupling, "first.weight", 0)
    assert_exact(coupling)


@pytest.mark.parametrize("operator", ["addmm", "baddbmm"])
def test_what_is_added_to_a_product_follows_its_columns(operator: str) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        if operator == "addmm":
            return net.last(torch.addmm(net.bias, net.first(x).mean(1), net.matrix))
        x = net.first(x)
        return net.last(torch.baddbmm(net.bias, x, net.matrix.expand(x.shape[0], -1, -1)))

    coupling = wired(
        wiring,
        *(5, 6),
        first=nn.Linear(6, 8),
        matrix=nn.Parameter(torch.randn(*(() if operator == "addmm" else (1,)), 8, 7)),
        bias=nn.Parameter(torch.randn(*(() if operator == "addmm" else (1, 5)), 7)),
        last=nn.Linear(7, 3),
    )

    assert classes(coupling, "bias", -1) == classes(coupling, "last.weight", 1)
    assert free(coupling)["first" if operator == "addmm" else "first/width"] == 8
    assert_exact(coupling)


@pytest.mark.parametrize(
    ("equation", "shape"),
    [("bti,io->bto", (6, 7)), ("bti , oi -> bto", (7, 6)), ("bti,iz", (6, 7)), ("bti,gio->btgo", (2, 6, 7))],
)
def test_an_einsum_with_a_parameter_is_a_layer(equation: str, shape: tuple[int, ...]) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        return net.last(F.relu(torch.einsum(equation, net.first(x), net.matrix)))

    coupling = wired(
        wiring,
        *(5, 4),
        first=nn.Linear(4, 6),
        matrix=nn.Parameter(torch.randn(shape)),
        last=nn.Linear(7, 3),
    )
    inner = shape.index(6)

    assert classes(coupling, "matrix", inner) == classes(coupling, "first.weight", 0)
    assert classes(coupling, "matrix", shape.index(7)) == classes(coupling, "last.weight", 1)
    assert {6, 7} <= set(free(coupling).values())
    assert_exact(coupling)


def test_an_einsum_of_one_operand_is_a_permutation_or_a_sum() -> None:
    coupling = wired(
        lambda net, x: (
            net.last(torch.einsum("bchw->bhwc", net.first(x)))
            + torch.einsum("bchw->b", net.other(x))[:, None, None, None]
        ),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        other=nn.Conv2d(3, 5, 1),
        last=nn.Linear(6, 3),
    )

    assert free(coupling) == {"first": 6, "other": 5}
    assert_exact(coupling)


@pytest.mark.parametrize("equation", ["...i,io->...o", "bti,ii->bti"])
def test_an_einsum_that_does_not_name_every_axis_once_is_locked(equation: str) -> None:
    coupling = wired(
        lambda net, x: net.last(torch.einsum(equation, net.first(x), net.matrix)),
        *(5, 4),
        first=nn.Linear(4, 6),
        matrix=nn.Parameter(torch.randn(6, 6)),
        last=nn.Linear(6, 3),
    )

    assert why_locked(coupling, "first").startswith(
        "an einsum with an ellipsis or a diagonal (aten.einsum.default, test_rules_attention.py:"
    )
    assert free(coupling) == {}


def test_linear_attention_sums_over_tokens_and_keeps_the_widths() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        query, key, value = net.query(x).softmax(-2), net.key(x).softmax(-2), net.value(x)
        return net.last(query @ (key.transpose(1, 2) @ value))

    coupling = wired(
        wiring,
        *(5, 6),
        query=nn.Linear(6, 8),
        key=nn.Linear(6, 8),
        value=nn.Linear(6, 7),
        last=nn.Linear(7, 3),
    )

    assert free(coupling) == {"query/width": 8, "value/width": 7}
    assert_exact(coupling)


def test_an_attention_over_channels_locks_what_its_softmax_mixes() -> None:
    """The other operand of the second product is free: its width is not what is attended over."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        query, key, value = (layer(x).transpose(1, 2) for layer in (net.query, net.key, net.value))
        return net.last(attend(query, key, value).transpose(1, 2))

    coupling = wired(
        wiring,
        *(5, 6),
        query=nn.Linear(6, 8),
        key=nn.Linear(6, 7),
        value=nn.Linear(6, 7),
        last=nn.Linear(8, 3),
    )

    assert free(coupling) == {"query": 8}
    assert why_locked(coupling, "key/width").startswith("softmax over this axis (aten.softmax.int")
    assert_exact(coupling)


def test_tokens_of_an_embedding_share_its_width() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = nn.Embedding(7, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.table(x.abs().long() % 7))

    coupling = wired(lambda net, x: net.words(x), 5, words=Words())

    assert free(coupling) == {"words.table": 6}
    assert prove(coupling, keeping(coupling, words__table=(0, 3))).refused == {}

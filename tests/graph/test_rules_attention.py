"""Products of activations: what is summed over is locked, values and whole heads are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeprune.graph.check import prove
from graph.labels import classes, free, keeping, situation, why_locked, wired


@pytest.mark.parametrize("name", ["mha_written_out", "scaled_dot_product"])
def test_a_value_channel_goes_from_all_heads_at_once(name: str) -> None:
    coupling = situation(name)
    value = classes(coupling, "value.weight", 0)

    assert value[:8] == value[8:] == classes(coupling, "project.weight", 1)[:8]


def test_queries_and_keys_are_locked_by_the_product() -> None:
    assert why_locked(situation("mha_written_out"), "query").startswith(
        "summed over by a product of activations (aten.matmul.default, zoo.py:"
    )


def test_whole_heads_are_units_where_heads_outnumber_their_width() -> None:
    coupling = situation("mha_many_heads")
    (heads,) = (one for one in coupling.groups if one.id == "query")

    assert heads.units == 8
    assert {piece.tensor for piece in heads.slices if piece.indices.shape == (8, 2)} == {
        "project.weight",
        *(f"{name}.{kind}" for name in ("query", "key", "value") for kind in ("weight", "bias")),
    }


def test_a_chunk_of_a_fused_projection_frees_the_values() -> None:
    coupling = situation("fused_qkv_chunked")
    packed = classes(coupling, "qkv.weight", 0)

    assert classes(coupling, "project.weight", 1) == packed[32:]
    assert free(coupling)["qkv#2"] == 8


def test_a_product_with_a_vector_locks_and_goes_on() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) @ net.vector),
        *(5, 6),
        first=nn.Linear(6, 4),
        vector=nn.Parameter(torch.randn(4)),
        last=nn.Linear(5, 3),
    )

    assert why_locked(coupling, "first").startswith("summed over by a product of activations (aten.")


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

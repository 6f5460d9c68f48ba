"""Explaining follows the channels of a layer from where they are made to whoever reads them."""

from __future__ import annotations

import pytest
from tiny import tiny_coupling
from zoo import SITUATIONS

from edgeprune.core.errors import RequestError
from edgeprune.core.explanation import LayerExplanation
from edgeprune.core.plan import Cut
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.stages.explain import explain_layer

INPUT = "the network's input"


def one(coupling: Coupling, name: str) -> LayerExplanation:
    (found,) = explain_layer(coupling, name).layers
    return found


def way(found: LayerExplanation) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (step.does, step.operator.split(".")[1], step.others)
        for step in found.steps
        if step.layer or step.others
    ]


def test_channels_are_followed_through_norms_to_the_layer_that_reads_them() -> None:
    found = one(tiny_coupling(), "body.0")
    assert (found.sources, found.reads_groups) == (("stem.0",), ("stem.0",))
    assert [(step.does, step.operator, step.layer) for step in found.steps] == [
        ("pass", "aten.batch_norm.default", "body.1"),
        ("pass", "aten.relu.default", "body.2"),
        ("read", "aten.conv2d.default", "last.0"),
    ]
    assert all(step.source.startswith("zoo.py:") for step in found.steps)


def test_a_sum_names_the_layers_whose_channels_are_cut_alike() -> None:
    assert ("meet", "add", ("last.0",)) in way(one(tiny_coupling(), "stem.0"))
    assert ("meet", "add", ("stem.0",)) in way(one(tiny_coupling(), "last.0"))


def test_a_concatenation_names_what_lies_beside() -> None:
    found = one(SITUATIONS["dense_concat"].coupling(), "one.0")
    assert [step for step in way(found) if step[0] == "join"] == [
        ("join", "cat", ("stem.0",)),
        ("join", "cat", ("two.0",)),
    ]


def test_heads_are_followed_through_views_and_products() -> None:
    found = one(SITUATIONS["fused_qkv"].coupling(), "qkv")
    assert [(group.group, group.kind, group.units) for group in found.groups] == [
        ("qkv/heads", "heads", 2),
        ("qkv/width", "width", 8),
    ]
    assert found.steps[-1].layer == "project"
    assert [step.operator for step in found.steps if step.does == "sum"] == ["aten.matmul.default"]
    assert one(SITUATIONS["fused_qkv"].coupling(), "project").sources == ("qkv",)


def test_what_goes_with_one_unit_is_what_a_cut_of_it_saves() -> None:
    coupling = tiny_coupling()
    for name, units in (("stem.0", 16), ("body.0", 12)):
        (member,) = one(coupling, name).groups
        after = count(
            coupling, coupling.narrowed([Cut(group=name, units=units, kept=tuple(range(units - 1)))])
        )
        before = count(coupling)
        assert member.macs == before.macs - after.macs
        assert sum(member.parameters.values()) == before.parameters - after.parameters
    assert member.parameters == {
        "body.0.weight": 144,
        "body.1.weight": 1,
        "body.1.bias": 1,
        "last.0.weight": 144,
    }


def test_a_lock_says_where_and_what_would_free_it() -> None:
    (member,) = one(SITUATIONS["layer_norm_mlp"].coupling(), "embed").groups
    assert member.locked is not None
    assert member.locked.hint == "allow it with --allow-inexact layer_norm"
    (member,) = one(SITUATIONS["layer_norm_allowed"].coupling(), "embed").groups
    assert (member.locked, member.inexact) == (None, ("layer_norm",))


def test_the_last_layers_channels_end_in_the_output() -> None:
    found = one(tiny_coupling(), "head")
    assert [(step.does, step.operator) for step in found.steps] == [("end", "output")]
    assert found.groups[0].locked is not None


def test_the_first_layer_reads_the_networks_input() -> None:
    found = one(tiny_coupling(), "stem.0")
    assert (found.sources, found.reads_groups) == ((INPUT,), ())


def test_a_layer_inside_a_removable_branch_names_it() -> None:
    coupling = SITUATIONS["residual_blocks"].coupling()
    block = next(iter(coupling.blocks.values()))
    name = block.tensors[0].rpartition(".")[0]
    assert one(coupling, name).branches == (block.name,)


def test_a_norm_and_a_depthwise_filter_work_on_the_channels_of_others() -> None:
    coupling = SITUATIONS["depthwise"].coupling()
    for name in ("0.1", "1.0"):
        found = one(coupling, name)
        assert found.sources == ("0.0",)
        assert [group.group for group in found.groups] == ["0.0"]


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_every_layer_of_every_situation_can_be_explained(name: str) -> None:
    coupling = SITUATIONS[name].coupling()
    for path in {tensor.split(".")[0] for tensor, _ in coupling.program.module.named_parameters()}:
        for found in explain_layer(coupling, path).layers:
            known = {step.layer for step in found.steps}
            assert found.layer.path not in found.sources or found.layer.path in known
            assert all(member.parameters for member in found.groups if member.units > 1)


def test_the_start_of_a_name_explains_every_layer_below() -> None:
    found = explain_layer(tiny_coupling(), "body")
    assert [layer.layer.path for layer in found.layers] == ["body.0", "body.1"]
    assert explain_layer(tiny_coupling(), "body.").layers == found.layers


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("boddy.0", "did you mean 'body.0'?"),
        ("bod", "did you mean 'body'?"),
        (
            "zzz",
            "layers with parameters: stem.0, stem.1, body.0, body.1, last.0, last.1, head",
        ),
    ],
)
def test_an_unknown_layer_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        explain_layer(tiny_coupling(), name)
    assert (caught.value.message, caught.value.hint) == (f"no layer is called '{name}'", hint)

"""Convolutions and linear layers: what of weight, bias and neighbours is cut together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from zoo import conv_bn

from edgeprune.graph.check import prove
from edgeprune.graph.surgery import shrink
from graph.labels import classes, constants, free, keeping, situation, why_locked, wired


def test_a_layer_gives_its_outputs_to_bias_norm_and_the_next_layers_inputs() -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(net.norm(net.first(x)))),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 3),
        norm=nn.BatchNorm2d(6),
        last=nn.Conv2d(6, 4, 1),
    )
    out = classes(coupling, "first.weight", 0)

    assert len(set(out)) == 6
    for tensor in ("first.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        assert classes(coupling, tensor, 0) == out
    assert classes(coupling, "last.weight", 1) == out


def test_roles_are_producer_consumer_and_attached() -> None:
    (group,) = (one for one in situation("depthwise").groups if one.id == "0.0")

    assert {(piece.tensor, piece.axis): piece.role for piece in group.slices} == {
        ("0.0.weight", 0): "producer",
        ("0.1.weight", 0): "attached",
        ("0.1.bias", 0): "attached",
        ("0.1.running_mean", 0): "attached",
        ("0.1.running_var", 0): "attached",
        ("1.0.weight", 0): "attached",
        ("1.1.weight", 0): "attached",
        ("1.1.bias", 0): "attached",
        ("1.1.running_mean", 0): "attached",
        ("1.1.running_var", 0): "attached",
        ("2.0.weight", 1): "consumer",
    }


def test_a_depthwise_multiplier_keeps_its_outputs_together() -> None:
    coupling = situation("depthwise_multiplier")
    first = classes(coupling, "0.0.weight", 0)

    assert classes(coupling, "1.0.weight", 0) == [one for one in first for _ in range(2)]


def test_a_depthwise_convolution_has_as_many_groups_as_channels_are_left() -> None:
    coupling = situation("depthwise_multiplier")

    shrunk = shrink(coupling, keeping(coupling, **{"0__0": (1, 2, 7)}))

    counts = [one[-1] for one in constants(shrunk.module, "aten.conv2d.default") if len(one) == 5]
    assert counts == [3]
    assert shrunk.tensors()["1.0.weight"].shape == (6, 1, 3, 3)


def test_a_grouped_convolution_cuts_the_same_places_of_every_group() -> None:
    coupling = situation("grouped")
    first, within = classes(coupling, "0.0.weight", 0), classes(coupling, "1.0.weight", 1)
    out = classes(coupling, "1.0.weight", 0)

    assert first == within * 4
    assert out == out[:6] * 4


def test_the_input_of_a_grouped_convolution_is_locked_with_the_networks_input() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(4, 8, 8),
        first=nn.Conv2d(4, 8, 3, groups=2),
        last=nn.Conv2d(8, 4, 1),
    )

    assert free(coupling) == {"first": 4}


def test_a_depthwise_convolution_of_the_input_is_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(4, 8, 8),
        first=nn.Conv2d(4, 8, 3, groups=4),
        last=nn.Conv2d(8, 4, 1),
    )

    assert why_locked(coupling, "first") == "the network's input (placeholder)"


def test_a_transposed_convolution_consumes_rows_and_produces_columns() -> None:
    coupling = situation("transposed_conv")

    assert classes(coupling, "1.weight", 0) == classes(coupling, "0.0.weight", 0)
    assert classes(coupling, "1.weight", 1) == classes(coupling, "1.bias", 0)
    assert classes(coupling, "1.weight", 1) == classes(coupling, "4.weight", 1)


def test_a_linear_layer_works_on_the_last_axis_whatever_the_rank() -> None:
    coupling = situation("cat_last_dim")
    joined = classes(coupling, "left.weight", 0) + classes(coupling, "right.weight", 0)

    assert classes(coupling, "body.weight", 1) == joined


def test_a_layer_used_twice_couples_its_inputs_with_its_outputs() -> None:
    coupling = situation("module_used_twice")

    assert classes(coupling, "body.0.weight", 0) == classes(coupling, "body.0.weight", 1)


def test_a_computed_weight_locks_what_it_reads() -> None:
    coupling = wired(
        lambda net, x: net.last(F.conv2d(net.first(x), net.weight * net.mask)),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 3),
        weight=nn.Parameter(torch.randn(5, 6, 3, 3)),
        mask=torch.ones(5, 6, 1, 1),
        last=conv_bn(5, 4),
    )

    assert why_locked(coupling, "first").startswith("read by a weight that is itself computed (aten.conv2d")


def test_a_weight_that_lost_its_channels_on_the_way_locks_without_a_crash() -> None:
    coupling = wired(
        lambda net, x: F.linear(net.first(x), net.left @ net.right),
        *(8,),
        first=nn.Linear(8, 6),
        left=nn.Parameter(torch.randn(5, 2)),
        right=nn.Parameter(torch.randn(2, 6)),
    )

    assert free(coupling) == {}
    assert why_locked(coupling, "first").startswith("read by a weight that is itself computed (aten.linear")


def test_padding_by_name_is_as_good_as_by_number() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 3, padding="same"),
        last=nn.Conv2d(6, 4, 3, padding="valid"),
    )

    assert prove(coupling, keeping(coupling, first=(0, 5))).refused == {}

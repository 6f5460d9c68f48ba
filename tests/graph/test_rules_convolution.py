"""Convolutions and linear layers: what of weight, bias and neighbours is cut together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, conv_bn, pooled

from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, situation, why_locked, wired


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


def rows(coupling: Coupling, group: str, tensor: str, axis: int = 0) -> list[list[int]]:
    """The indices of a tensor's axis that each unit of a group takes along."""
    (found,) = (one for one in coupling.groups if one.id == group)
    (piece,) = (one for one in found.slices if one.tensor == tensor and one.axis == axis)
    return piece.indices.tolist()


def test_a_grouped_convolution_cuts_whole_groups_or_the_same_places_of_all() -> None:
    coupling = situation("grouped")

    assert rows(coupling, "0.0/groups", "0.0.weight") == [
        list(range(4 * one, 4 * one + 4)) for one in range(4)
    ]
    assert rows(coupling, "0.0/groups", "1.0.weight") == [
        list(range(6 * one, 6 * one + 6)) for one in range(4)
    ]
    assert rows(coupling, "0.0", "0.0.weight") == [
        [place, place + 4, place + 8, place + 12] for place in range(4)
    ]
    assert rows(coupling, "0.0", "1.0.weight", 1) == [[place] for place in range(4)]
    assert rows(coupling, "1.0", "1.0.weight") == [
        [place + 6 * one for one in range(4)] for place in range(6)
    ]
    assert_exact(coupling)


@pytest.mark.parametrize(
    ("kept", "groups", "shape"),
    [
        ({"0__0/groups": (1, 3)}, 2, (12, 4, 3, 3)),
        ({"0__0": (0, 2, 3)}, 4, (24, 3, 3, 3)),
        ({"0__0/groups": (0,), "0__0": (1,), "1__0": (2, 5)}, 1, (2, 1, 3, 3)),
    ],
)
def test_a_grouped_convolution_is_written_with_the_groups_that_are_left(
    kept: dict[str, tuple[int, ...]], groups: int, shape: tuple[int, ...]
) -> None:
    coupling = situation("grouped")
    shrunk = shrink(coupling, keeping(coupling, **kept))

    assert shrunk.tensors()["1.0.weight"].shape == shape
    weights = [one for one in shrunk.graph.nodes if one.op == "get_attr" and one.target == "1.0.weight"]
    (node,) = weights[0].users
    assert node.args[6] == groups


def test_two_grouped_convolutions_of_a_residual_sum_share_what_they_can() -> None:
    """Two groups in front, four behind: half of the channels of either go with one unit."""
    coupling = situation("grouped_residual")

    assert free(coupling) == {"stem.0/groups": 2, "stem.0": 4, "body.0": 3}
    assert_exact(coupling)


def test_a_grouped_transposed_convolution_has_groups_and_places() -> None:
    coupling = situation("grouped_transposed_conv")

    assert rows(coupling, "0.0/groups", "1.weight") == [[2 * one, 2 * one + 1] for one in range(4)]
    assert rows(coupling, "0.0", "1.weight") == [
        [place, place + 2, place + 4, place + 6] for place in range(2)
    ]
    assert rows(coupling, "1", "1.weight", 1) == [[0], [1], [2]]
    assert rows(coupling, "1", "1.bias") == [[place, place + 3, place + 6, place + 9] for place in range(3)]
    narrow = shrink(coupling, keeping(coupling, **{"0__0/groups": (1, 2), "1": (0, 2)}))
    assert narrow.tensors()["1.weight"].shape == (4, 2, 4, 4)
    assert [one[-1] for one in constants(narrow.module, "aten.conv_transpose2d.input")] == [2]
    assert_exact(coupling)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_transposed_depthwise_convolution_follows_its_channels(multiplier: int) -> None:
    up = nn.ConvTranspose2d(6, 6 * multiplier, 2, stride=2, groups=6)
    coupling = wired(
        lambda net, x: net.last(net.up(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        up=up,
        last=nn.Conv2d(6 * multiplier, 2, 1),
    )

    assert free(coupling)["first" if "first" in free(coupling) else "first/groups"] == 6
    assert_exact(coupling)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_a_depthwise_convolution_follows_its_channels(multiplier: int) -> None:
    coupling = wired(
        lambda net, x: net.last(net.deep(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        deep=nn.Conv2d(6, 6 * multiplier, 3, groups=6),
        last=nn.Conv2d(6 * multiplier, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert rows(coupling, "first", "deep.weight") == [
        list(range(unit * multiplier, unit * multiplier + multiplier)) for unit in range(6)
    ]
    assert_exact(coupling)


def test_a_grouped_convolution_behind_a_shuffle_of_other_groups() -> None:
    """ShuffleNet: grouped, shuffled by as many, depthwise, grouped again."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(net.stem(x))
        x = x.view(-1, 3, 4, 5, 5).transpose(1, 2).reshape(-1, 12, 5, 5)
        return net.head(pooled(net.second(net.deep(x))))

    coupling = wired(
        wiring,
        *(3, 5, 5),
        stem=nn.Conv2d(3, 6, 1),
        first=nn.Conv2d(6, 12, 1, groups=3),
        deep=nn.Conv2d(12, 12, 3, padding=1, groups=12),
        second=nn.Conv2d(12, 6, 1, groups=3),
        head=nn.Linear(6, 2),
    )

    assert free(coupling)
    assert_exact(coupling)


def test_the_input_of_a_grouped_convolution_is_locked_with_the_networks_input() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(4, 8, 8),
        first=nn.Conv2d(4, 8, 3, groups=2),
        last=nn.Conv2d(8, 4, 1),
    )

    # The places within either group make channels of their own; the groups read the input.
    assert free(coupling) == {"first": 4}
    assert_exact(coupling)


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


def test_a_masked_weight_is_cut_with_its_mask() -> None:
    coupling = wired(
        lambda net, x: net.last(F.conv2d(net.first(x), net.weight * net.mask)),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 3),
        weight=nn.Parameter(torch.randn(5, 6, 3, 3)),
        mask=torch.ones(5, 6, 1, 1),
        last=conv_bn(5, 4),
    )

    assert free(coupling)["first"] == 6
    assert classes(coupling, "mask", 1) == classes(coupling, "first.weight", 0)
    assert_exact(coupling)


def test_a_weight_that_is_a_product_of_parameters_is_stored() -> None:
    coupling = wired(
        lambda net, x: net.last(F.relu(F.linear(net.first(x), net.left @ net.right))),
        *(8,),
        first=nn.Linear(8, 6),
        left=nn.Parameter(torch.randn(5, 2)),
        right=nn.Parameter(torch.randn(2, 6)),
        last=nn.Linear(5, 3),
    )

    assert sorted(free(coupling).values()) == [5, 6]
    assert_exact(coupling)


def test_a_weight_that_lost_its_channels_on_the_way_locks_without_a_crash() -> None:
    """The weight is computed from the input, by an operator that no rule knows."""

    def wiring(net: Net, x: Tensor) -> Tensor:
        weight = net.gain * net.first(x).mean((0, 1)).logcumsumexp(0).expand(5, -1)
        return net.last(F.linear(net.first(x), weight))

    coupling = wired(
        wiring,
        *(4, 8),
        first=nn.Linear(8, 6),
        gain=nn.Parameter(torch.randn(5, 1)),
        last=nn.Linear(5, 2),
    )

    assert free(coupling) == {}
    assert why_locked(coupling, "first")


def test_padding_by_name_is_as_good_as_by_number() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x)),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 3, padding="same"),
        last=nn.Conv2d(6, 4, 3, padding="valid"),
    )

    assert prove(coupling, keeping(coupling, first=(0, 5))).refused == {}

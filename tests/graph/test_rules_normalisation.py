"""Normalisations: per channel they follow a cut, across channels they forbid it."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, situation, why_locked, wired


def perturbed(norm: nn.Module) -> nn.Module:
    """Gains and shifts that differ."""
    for tensor in norm.parameters():
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


def test_batch_norm_brings_gain_shift_and_statistics() -> None:
    coupling = situation("bn_mlp")
    first = classes(coupling, "0.weight", 0)

    for tensor in ("1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert classes(coupling, tensor, 0) == first


def test_one_slope_for_all_channels_stays() -> None:
    coupling = situation("prelu")

    assert classes(coupling, "1.weight", 0) == classes(coupling, "0.weight", 0)
    assert not set(classes(coupling, "3.weight", 0)) & set(classes(coupling, "2.weight", 0))


def test_layer_norm_locks_the_axis_it_mixes() -> None:
    assert why_locked(situation("layer_norm_mlp"), "embed").startswith(
        "normalised over this axis (aten.layer_norm.default, zoo.py:"
    )


def test_layer_norm_over_other_axes_locks_no_channel() -> None:
    coupling = wired(
        lambda net, x: net.last(net.norm(net.first(x))),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        norm=nn.LayerNorm([6, 6]),
        last=nn.Conv2d(4, 2, 1),
    )

    assert free(coupling) == {"first": 4}


def test_a_locked_layer_norm_says_what_would_free_it() -> None:
    (group,) = (one for one in situation("layer_norm_mlp").groups if one.id == "embed")

    assert group.locked is not None
    assert (group.locked.inexact, group.locked.hint) == (
        "layer_norm",
        "a cut would change every other channel",
    )


@pytest.mark.parametrize("affine", [True, False])
def test_an_allowed_layer_norm_is_one_of_the_kept_channels_alone(affine: bool) -> None:
    coupling = wired(
        lambda net, x: net.last(net.norm(net.first(x)) + net.first(x)),
        *(5, 4),
        allow=("layer_norm",),
        first=nn.Linear(4, 8),
        norm=perturbed(nn.LayerNorm(8, elementwise_affine=affine)),
        last=nn.Linear(8, 3),
    )

    assert free(coupling) == {"first": 8}
    assert [group.inexact for group in coupling.free()] == [("layer_norm",)]
    narrow = shrink(coupling, keeping(coupling, first=(0, 3, 4)))
    assert constants(narrow.module, "aten.layer_norm.default")[0][0] == [3]
    assert_exact(coupling)


def test_allowing_one_inexact_operator_allows_no_other() -> None:
    def wiring(net: nn.Module, x: Tensor) -> Tensor:
        x = net.groups(net.first(x))
        return net.last(net.layers(x.flatten(2).mT))

    parts = {
        "first": nn.Conv2d(3, 8, 1),
        "groups": nn.GroupNorm(1, 8),
        "layers": nn.LayerNorm(8),
        "last": nn.Linear(8, 2),
    }
    assert free(wired(wiring, 3, 4, 4, **parts)) == {}
    assert free(wired(wiring, 3, 4, 4, allow=("group_norm",), **parts)) == {}
    assert free(wired(wiring, 3, 4, 4, allow=("layer_norm",), **parts)) == {}
    both = wired(wiring, 3, 4, 4, allow=("layer_norm", "group_norm"), **parts)
    assert [group.inexact for group in both.free()] == [("group_norm", "layer_norm")]
    assert_exact(both)


@pytest.mark.parametrize("epsilon", [None, 1e-6, 0.5])
@pytest.mark.parametrize("affine", [True, False])
def test_rms_norm_is_exact_whatever_its_epsilon(epsilon: float | None, affine: bool) -> None:
    coupling = wired(
        lambda net, x: net.last(net.norm(net.first(x)) + net.first(x)),
        *(5, 4),
        first=nn.Linear(4, 8),
        norm=perturbed(nn.RMSNorm(8, eps=epsilon, elementwise_affine=affine)),
        last=nn.Linear(8, 3),
    )

    assert free(coupling) == {"first": 8}
    assert_exact(coupling)


def test_a_narrower_rms_norm_counts_the_sum_as_before() -> None:
    coupling = wired(
        lambda net, x: net.last(net.norm(net.first(x))),
        *(5, 4),
        first=nn.Linear(4, 8),
        norm=nn.RMSNorm(8, eps=0.5),
        last=nn.Linear(8, 3),
    )
    narrow = shrink(coupling, keeping(coupling, first=(0, 3)))

    assert constants(narrow.module, "aten.rms_norm.default") == [([2], 2.0)]
    assert constants(narrow.module, "aten.mul.Tensor") == [(2.0,)]
    untouched = shrink(coupling, ())
    assert constants(untouched.module, "aten.rms_norm.default") == [([8], 0.5)]
    assert constants(untouched.module, "aten.mul.Tensor") == []


def test_a_locked_group_norm_still_gives_its_whole_groups() -> None:
    coupling = situation("group_norm")

    assert why_locked(coupling, "0") == (
        "normalised with the other channels of its group (aten.group_norm.default)"
    )
    (groups,) = coupling.free("groups")
    (piece,) = (one for one in groups.slices if one.tensor == "0.weight")
    assert piece.indices.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    narrow = shrink(coupling, keeping(coupling, **{groups.id: (0, 1, 3)}))
    assert [one[0] for one in constants(narrow.module, "aten.group_norm.default")] == [3]
    assert_exact(coupling)


def grouped(groups: int, *, allow: tuple[str, ...] = (), affine: bool = True) -> Coupling:
    return wired(
        lambda net, x: net.last(net.norm(net.first(x)) + net.first(x)),
        *(3, 4, 4),
        allow=allow,
        first=nn.Conv2d(3, 12, 1),
        norm=perturbed(nn.GroupNorm(groups, 12, affine=affine)),
        last=nn.Conv2d(12, 2, 1),
    )


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("groups", "exact", "allowed"),
    [
        (1, {}, {"first": 12}),
        (3, {"first/groups": 3}, {"first/groups": 3, "first": 4}),
        (12, {"first": 12}, {"first": 12}),
    ],
)
def test_group_norms_of_any_number_of_groups(
    groups: int, exact: dict[str, int], allowed: dict[str, int], affine: bool
) -> None:
    strict, loose = grouped(groups, affine=affine), grouped(groups, allow=("group_norm",), affine=affine)

    assert free(strict) == exact
    assert free(loose) == allowed
    for coupling in (strict, loose):
        if free(coupling):
            assert_exact(coupling)


def test_one_channel_in_each_group_makes_as_many_groups_as_channels() -> None:
    coupling = grouped(12)
    narrow = shrink(coupling, keeping(coupling, first=(0, 1, 5, 7, 11)))

    assert [one[0] for one in constants(narrow.module, "aten.group_norm.default")] == [5]


def test_one_group_stays_one_group() -> None:
    coupling = grouped(1, allow=("group_norm",))
    narrow = shrink(coupling, keeping(coupling, first=(0, 1, 5, 7, 11)))

    assert [one[0] for one in constants(narrow.module, "aten.group_norm.default")] == [1]
    assert free(grouped(1)) == {}


def test_softmax_over_channels_locks_them_and_over_space_does_not() -> None:
    coupling = wired(
        lambda net, x: net.last(net.body(F.softmax(net.first(x), 2)).softmax(1)),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        body=nn.Conv2d(4, 5, 1),
        last=nn.Conv2d(5, 2, 1),
    )

    assert free(coupling) == {"first": 4}
    assert why_locked(coupling, "body").startswith("softmax over this axis (aten.softmax.int")

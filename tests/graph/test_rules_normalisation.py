"""Normalisations: per channel they follow a cut, across channels they forbid it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from graph.labels import classes, free, situation, why_locked, wired


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


def test_group_norm_locks_its_channels() -> None:
    assert why_locked(situation("group_norm"), "0") == (
        "normalised over groups of channels (aten.group_norm.default)"
    )


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

"""Padding: what is padded with is a unit of its own, cut by padding less."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from edgeprune.graph.check import prove
from edgeprune.graph.surgery import shrink
from graph.labels import classes, constants, keeping, situation, why_locked, wired


def test_padded_channels_go_with_the_branch_they_are_added_to() -> None:
    coupling = situation("residual_option_a")
    stem, body = classes(coupling, "stem.0.weight", 0), classes(coupling, "body.0.weight", 0)

    assert body[4:12] == stem
    assert not set(body[:4] + body[12:]) & set(stem)


def test_fewer_channels_are_padded_when_their_partners_go() -> None:
    coupling = situation("residual_option_a")

    # Units 0 to 3 are the channels before the stem's, 4 to 7 those after.
    shrunk = shrink(coupling, keeping(coupling, body__0=(1, 4, 5, 7)))

    assert constants(shrunk.module, "aten.pad.default") == [([0, 0, 0, 0, 1, 3],)]


def test_a_padded_value_other_than_zero_is_exact_as_well() -> None:
    coupling = situation("constant_pad")
    free = {group.id: group.units for group in coupling.free()}
    assert free == {"stem": 8, "other": 5, "body.0": 8}

    assert prove(coupling, keeping(coupling, other=(4,), stem=(0, 6))).refused == {}


def test_reflected_channels_are_locked_and_reflected_space_is_not() -> None:
    def wiring(net: nn.Module, x: object) -> object:
        tokens = F.pad(net.first(x), (1, 1), mode="reflect")
        return net.last(F.pad(tokens.transpose(1, 2), (1, 1), mode="reflect"))

    coupling = wired(wiring, *(3, 6), first=nn.Conv1d(3, 4, 1), last=nn.Linear(6, 2))

    assert why_locked(coupling, "first").startswith("padded by its own values, or cropped (aten.pad.default")
    assert [lock for group in coupling.groups if (lock := group.locked) and group.id == "last"]


def test_a_crop_of_channels_is_locked() -> None:
    coupling = wired(
        lambda net, x: net.last(F.pad(net.first(x), (0, 0, 0, 0, -1, 0))),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(3, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("padded by its own values, or cropped (aten.pad.default")

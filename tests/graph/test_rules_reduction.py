"""Pooling and reductions: channels pass, the axes that are reduced do not."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.check import prove
from graph.labels import classes, free, keeping, situation, why_locked, wired


def test_means_over_space_pass_channels_on() -> None:
    coupling = situation("mean_over_space")

    assert classes(coupling, "head.weight", 1) == classes(coupling, "stem.0.weight", 0) * 3


def test_a_mean_over_channels_locks_them() -> None:
    assert why_locked(situation("spatial_attention"), "stem.0").startswith(
        "reduced over this axis (aten.mean.dim, zoo.py:"
    )


def test_a_mean_over_everything_locks_every_axis() -> None:
    coupling = wired(
        lambda net, x: net.last(x) * net.first(x).mean(),
        *(3, 6, 6),
        first=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(3, 2, 1),
    )

    assert why_locked(coupling, "first").startswith("reduced over this axis (aten.mean.default")


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 3, stride=1),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.adaptive_max_pool2d(x, 2),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: F.interpolate(x, size=(5, 5), mode="bilinear"),
        lambda x: F.interpolate(x, size=(5, 5), mode="bicubic"),
    ],
)
def test_pooling_and_resizing_pass_channels_on(pool: object) -> None:
    assert callable(pool)

    def wiring(net: nn.Module, x: Tensor) -> Tensor:
        return net.last(pool(net.first(x)))

    coupling = wired(wiring, *(3, 6, 6), first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))

    assert free(coupling) == {"first": 6}
    assert prove(coupling, keeping(coupling, first=(1, 4))).refused == {}

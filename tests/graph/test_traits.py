from __future__ import annotations

import torch
from torch import nn

from edgeprune.core.advice import Traits
from edgeprune.graph.capture import capture
from edgeprune.graph.traits import traits_of


def test_a_plain_convolution_has_no_depthwise_share_and_no_gate() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    assert traits_of(capture(network, (3, 8, 8))) == Traits(
        macs=8 * 27 * 36 + 8 * 36 * 4, depthwise=0, gated=False
    )


def test_multiply_accumulates_of_depthwise_layers_are_counted_at_every_place_of_their_output() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Hardswish())
    # 16 weights of the first and 36 of the second, at 64 places each.
    assert traits_of(capture(network, (4, 8, 8))) == Traits(
        macs=52 * 64, depthwise=round(36 / 52, 4), gated=True
    )


def test_a_gate_anywhere_counts() -> None:
    class Gated(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values * torch.sigmoid(values.mean(1, keepdim=True))

    assert traits_of(capture(Gated(), (4, 8, 8))) == Traits(macs=0, depthwise=0, gated=True)


def test_the_softmax_of_attention_is_a_gate() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Softmax(dim=1))
    assert traits_of(capture(network, (4, 8, 8))).gated

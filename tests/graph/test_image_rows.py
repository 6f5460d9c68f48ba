"""Moments belong to images, however their windows and tokens are merged with the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CLASSES, coupled
from torch import Tensor, nn

from edgeprune.graph.capture import capture
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.graph.image_rows import means, orders
from edgeprune.graph.replay import observe

IMAGES = 12


class Merged(nn.Module):
    """Tokens merged with the batch, one way or the other."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        images, places, width = tokens.shape
        if self.way == "place by place":
            tokens = tokens.transpose(0, 1)
        rows = torch.relu(self.inner(tokens.reshape(images * places, width)))
        if self.way == "place by place":
            rows = rows.reshape(places, images, 6).transpose(0, 1)
        result: Tensor = self.head(rows.reshape(images, places, 6).mean(1))
        return result


@pytest.mark.parametrize("way", ["image by image", "place by place"])
def test_two_equal_images_tell_whose_rows_are_whose(way: str) -> None:
    torch.manual_seed(0)
    program = capture(Merged(way).eval(), (5, 4))
    inputs = torch.randn(IMAGES, 5, 4)
    nodes = [node for node in program.graph.nodes if "relu" in node.name]
    assert nodes
    assert orders(program, inputs[:1], nodes) == dict.fromkeys(nodes, way)
    found: list[Tensor] = []
    observe(
        program,
        inputs,
        nodes,
        lambda node, value: found.append(
            torch.from_numpy(
                means(node, value, 1, IMAGES, way)  # type: ignore[arg-type]
            )
        ),
    )
    inner = program.module.get_submodule("inner")
    expected = torch.relu(nn.functional.linear(inputs, inner.weight, inner.bias)).mean(1)  # type: ignore[arg-type]
    assert torch.allclose(found[0].float(), expected.detach(), atol=1e-6)


def test_what_is_the_same_for_every_image_has_no_order() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", torch.linspace(-1, 1, 6)[:, None])
            self.shift, self.head = nn.Linear(1, 4), nn.Linear(4, CLASSES)

        def forward(self, tokens: Tensor) -> Tensor:
            result: Tensor = self.head((tokens + torch.relu(self.shift(self.places))).mean(1))
            return result

    program = capture(Shifted().eval(), (6, 4))
    assert orders(program, torch.randn(1, 6, 4), [n for n in program.graph.nodes if "relu" in n.name]) == {}


@pytest.mark.parametrize("situation", ["multihead_attention", "window_attention"])
def test_moments_are_those_of_images_seen_one_by_one(situation: str) -> None:
    coupling = coupled(situation)
    size = coupling.program.input_size
    torch.manual_seed(3)
    inputs, labels = torch.randn(IMAGES, *size), np.arange(IMAGES) % 3
    groups = [one for one in coupling.free() if one.kind != "blocks"]
    together = GroupEvidence(coupling, groups, 3, 0, frozenset({"moments"}))
    together.add(inputs, labels)
    alone = GroupEvidence(coupling, groups, 3, 0, frozenset({"moments"}))
    for place, label in enumerate(labels):
        alone.add(inputs[place : place + 1], np.asarray([label]))
    compared = 0
    for group in groups:
        for one, other in zip(together.moments(group), alone.moments(group), strict=True):
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(one.m2, other.m2, rtol=1e-3, atol=1e-6)
            compared += 1
    assert compared

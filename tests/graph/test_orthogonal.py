"""The step of a weight is the orthogonal matrix nearest to its gradient, whatever the gradient's shape."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny
from torch import nn

from edgeprune.graph.capture import capture
from edgeprune.graph.orthogonal import matrices, orthogonal, scale_of


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6), (8, 3, 3, 3), (16, 1, 2), (1, 5), (5, 1)])
def test_every_direction_goes_as_far_as_any_other(shape: tuple[int, ...]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    step = orthogonal(gradient)
    assert step.shape == gradient.shape
    rows, columns = gradient.flatten(1).shape
    left, _, right = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    turned = left.mT @ step.flatten(1) @ right.mT / max(rows, columns) ** 0.5
    sizes = turned.diagonal()
    assert bool(((sizes > 0.6) & (sizes < 1.3)).all()), sizes
    assert torch.allclose(turned, turned.diagonal().diag(), atol=1e-4)
    assert 0.6 < float(step.square().mean().sqrt()) < 1.3


def test_the_size_of_the_gradient_is_forgotten() -> None:
    gradient = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonal(gradient), orthogonal(gradient * 1e6), atol=1e-5)


def test_no_gradient_is_no_step() -> None:
    assert not orthogonal(torch.zeros(3, 4)).any()


def test_layers_without_groups_are_matrices_but_for_the_last() -> None:
    assert matrices(tiny()) == {"stem.0.weight", "body.0.weight", "last.0.weight"}
    assert matrices(tiny("depthwise")) == {"0.0.weight", "2.0.weight"}


def test_every_output_has_a_last_layer() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.near, self.far = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            hidden = self.stem(x).relu()
            return self.near(hidden).softmax(1), hidden + self.far(hidden).sum(1, keepdim=True)

    # what is added to an output goes straight there
    assert matrices(capture(Heads().eval(), (6,))) == set()


def test_a_weight_that_also_makes_the_answers_is_none() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.both = nn.Linear(6, 5), nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.both(self.both(self.stem(x).relu()).relu())
            return found

    assert matrices(capture(Twice().eval(), (6,))) == {"stem.weight"}


@pytest.mark.parametrize(("width", "rows", "worth"), [(32, 1, True), (33, 1, False), (33, 2, True)])
def test_the_step_takes_no_longer_than_the_layer(width: int, rows: int, worth: bool) -> None:
    net = nn.Sequential(nn.Linear(40, width), nn.ReLU(), nn.Linear(width, 3))
    assert matrices(capture(net.eval(), (rows, 40))) == ({"0.weight"} if worth else set())


def test_a_weight_of_zeros_can_move() -> None:
    assert scale_of(torch.full((2, 4), -0.5)) == 0.5
    assert scale_of(torch.zeros(2, 4)) == 0.5

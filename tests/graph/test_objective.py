"""What a network in training is asked for."""

from __future__ import annotations

import pytest
import torch

from edgeprune.graph.objective import Objective, agreed


def answers(seed: int) -> torch.Tensor:
    return 5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def test_several_answers_agree_on_the_mean_of_their_softened_probabilities() -> None:
    several = torch.stack([answers(0), answers(1), answers(2)])
    mean = (several / 2).softmax(2).mean(0)
    assert torch.allclose((agreed(several) / 2).softmax(1), mean, atol=1e-6)


def test_one_answer_stays_what_it_is() -> None:
    one, found = answers(0), answers(1)
    loss = Objective().loss(found, one, None)
    assert float(Objective().loss(found, agreed(one[None]), None)) == pytest.approx(float(loss), rel=1e-5)


def test_the_same_answers_cost_nothing() -> None:
    assert float(Objective().loss(answers(0), answers(0) + 3, None)) == pytest.approx(0, abs=1e-6)

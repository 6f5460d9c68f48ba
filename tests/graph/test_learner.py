"""A learner descends as torch's own optimiser would, and keeps an average beside."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import tiny
from torch import Tensor, nn

from edgeprune.graph.capture import Program
from edgeprune.graph.learner import Learner
from edgeprune.graph.processes import ALONE
from edgeprune.graph.weights import write

STEPS = 12


def learner_of(program: Program, *, annealed: bool = True) -> Learner:
    return Learner(program, peak=0.05, steps=STEPS, team=ALONE, annealed=annealed)


def twin(program: Program) -> Program:
    """Another network of the same weights."""
    other = tiny()
    write(other, program.tensors())
    return other


def loss_of(program: Program, number: int) -> Tensor:
    answers: Tensor = program.module(program.example(8, seed=number))
    return answers.square().sum() if number == 4 else answers.square().mean()


def trained(program: Program, *, annealed: bool = True) -> Learner:
    one = learner_of(program, annealed=annealed)
    for number in range(STEPS):
        one.begin()
        one.step(loss_of(program, number), 1.0)
    return one


def by_torch(program: Program, *, peak: float, annealed: bool = True) -> dict[str, list[Tensor]]:
    """The weights after each step, by torch's own optimiser and clipping."""
    parameters = dict(program.module.named_parameters())
    groups = [
        {"params": [one for one in parameters.values() if one.ndim > 1], "weight_decay": 5e-4},
        {"params": [one for one in parameters.values() if one.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=peak, momentum=0.9, nesterov=True)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, _share if annealed else _level)
    seen: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for number in range(STEPS):
        optimiser.zero_grad()
        loss_of(program, number).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), 20.0)
        optimiser.step()
        falling.step()
        for name, one in parameters.items():
            seen[name].append(one.detach().clone())
    return seen


def _share(step: int) -> float:
    """One step of a twentieth of twelve: half the peak, then a cosine."""
    return 0.5 if step == 0 else 0.5 * (1 + math.cos(math.pi * (step - 1) / (STEPS - 1)))


def _level(step: int) -> float:
    """One step of half the peak, then the peak."""
    return 0.5 if step == 0 else 1.0


@pytest.mark.parametrize("annealed", [True, False])
def test_it_steps_as_torch_does(annealed: bool) -> None:
    program = tiny()
    expected = by_torch(twin(program), peak=0.05, annealed=annealed)
    trained(program, annealed=annealed)
    for name, one in program.module.named_parameters():
        assert torch.allclose(one, expected[name][-1], rtol=1e-4, atol=1e-6), name


def test_the_average_follows_the_weights() -> None:
    program = tiny()
    start = {name: one.detach().clone() for name, one in program.module.named_parameters()}
    seen = by_torch(twin(program), peak=0.05)
    averages = trained(program).averaged()
    for name, expected in start.items():
        for number, weights in enumerate(seen[name]):
            keep = min(0.999, (1 + number) / (10 + number))
            expected = keep * expected + (1 - keep) * weights
        assert torch.allclose(averages[name], expected, rtol=1e-4, atol=1e-6), name


def test_a_parameter_that_the_loss_does_not_reach_stays() -> None:
    program = tiny()
    one = learner_of(program)
    head = program.tensors()["head.weight"]
    before = {name: tensor.detach().clone() for name, tensor in program.tensors().items()}
    one.begin()
    one.step(head.square().sum(), 1.0)
    after = program.tensors()
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert all(torch.equal(after[name], before[name]) for name in before if name != "head.weight")


@pytest.mark.parametrize("length", [0.5, 1e4])
def test_a_long_gradient_is_cut_to_twenty(length: float) -> None:
    program = tiny()
    one = learner_of(program)
    bias = program.tensors()["head.bias"]
    before = bias.detach().clone()
    one.begin()
    one.step(bias[0] * length, 1.0)
    # the first rate is half the peak, and Nesterov adds nine tenths of the momentum to the gradient
    assert float(before[0] - bias.detach()[0]) == pytest.approx(0.025 * 1.9 * min(length, 20.0), rel=1e-4)


def test_parameters_that_are_added_up_have_gradients_of_their_own() -> None:
    program = tiny()
    one = learner_of(program)
    tensors = program.tensors()
    first, second = tensors["stem.1.weight"], tensors["stem.1.bias"]
    before = (first - 3 * second).detach().clone()
    one.begin()
    one.step((first + second).sum() + second.sum(), 1.0)
    # second goes twice as far as first, so that first - 3 second grows by five times a step
    assert torch.allclose(first - 3 * second - before, torch.full_like(before, 5 * 0.025 * 1.9), rtol=1e-4)

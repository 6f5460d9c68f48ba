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
    """A loss whose gradients are noise, of the same size in all directions; that of step 4 is cut."""
    random = torch.Generator().manual_seed(number)
    terms = [(one * torch.randn(one.shape, generator=random)).sum() for one in program.module.parameters()]
    return torch.stack(terms).sum() * (1.0 if number == 4 else 0.01)


def trained(program: Program, *, annealed: bool = True) -> Learner:
    one = learner_of(program, annealed=annealed)
    for number in range(STEPS):
        one.begin()
        one.step(loss_of(program, number), 1.0)
    return one


def by_torch(program: Program, *, peak: float, annealed: bool = True) -> dict[str, list[Tensor]]:
    """The weights after each step, by torch's own optimisers and clipping."""
    parameters = dict(program.module.named_parameters())
    matrices = {name: one for name, one in parameters.items() if one.ndim > 1 and name != "head.weight"}
    # torch's Muon takes matrices only: it gets copies of that shape, copied back after every step.
    flat = {name: nn.Parameter(one.detach().flatten(1).clone()) for name, one in matrices.items()}
    rates = {name: peak * float(one.detach().square().mean().sqrt()) / 0.2 for name, one in flat.items()}
    muon = torch.optim.Muon(
        [{"params": [one], "lr": rates[name]} for name, one in flat.items()],
        momentum=0.9,
        weight_decay=0.0,
        adjust_lr_fn="match_rms_adamw",
    )
    sgd = torch.optim.SGD(
        [one for name, one in parameters.items() if name not in matrices],
        lr=peak,
        momentum=0.9,
        nesterov=True,
    )
    falling = [torch.optim.lr_scheduler.LambdaLR(one, _share if annealed else _level) for one in (muon, sgd)]
    seen: dict[str, list[Tensor]] = {name: [] for name in parameters}
    for number in range(STEPS):
        for one in parameters.values():
            one.grad = None
        loss_of(program, number).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), 20.0)
        for name, one in matrices.items():
            assert one.grad is not None
            flat[name].grad = one.grad.flatten(1)
        muon.step()
        sgd.step()
        for one in falling:
            one.step()
        with torch.no_grad():
            for name, one in matrices.items():
                one.copy_(flat[name].reshape(one.shape))
        for name, one in parameters.items():
            seen[name].append(one.detach().clone())
    return seen


def close(found: Tensor, expected: Tensor, start: Tensor) -> bool:
    """Whether two ways end in one place, but for rounding: torch's Muon multiplies in bfloat16."""
    return float((found - expected).norm()) <= 0.03 * float((expected - start).norm()) + 1e-6


def _share(step: int) -> float:
    """One step of a twentieth of twelve: half the peak, then a cosine."""
    return 0.5 if step == 0 else 0.5 * (1 + math.cos(math.pi * (step - 1) / (STEPS - 1)))


def _level(step: int) -> float:
    """One step of half the peak, then the peak."""
    return 0.5 if step == 0 else 1.0


@pytest.mark.parametrize("annealed", [True, False])
def test_it_steps_as_torch_does(annealed: bool) -> None:
    program = tiny()
    start = {name: one.detach().clone() for name, one in program.module.named_parameters()}
    expected = by_torch(twin(program), peak=0.05, annealed=annealed)
    trained(program, annealed=annealed)
    for name, one in program.module.named_parameters():
        assert close(one.detach(), expected[name][-1], start[name]), name


def test_the_average_follows_the_weights() -> None:
    program = tiny()
    start = {name: one.detach().clone() for name, one in program.module.named_parameters()}
    one, expected = learner_of(program), {name: tensor.clone() for name, tensor in start.items()}
    for number in range(STEPS):
        one.begin()
        one.step(loss_of(program, number), 1.0)
        keep = min(0.999, (1 + number) / (10 + number))
        for name, weights in program.module.named_parameters():
            expected[name] = keep * expected[name] + (1 - keep) * weights.detach()
    for name, average in expected.items():
        assert torch.allclose(one.averaged()[name], average, rtol=1e-4, atol=1e-6), name


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

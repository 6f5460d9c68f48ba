"""A program that learns: one optimiser step at a time, with a running average of its weights beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.core.sparsity import Mask
from edgeprune.graph.capture import Program
from edgeprune.graph.checkpoint import State
from edgeprune.graph.processes import Processes

_MOMENTUM = 0.9
_DECAY = 5e-4
_CLIP = 20.0
"""Largest norm of the whole gradient. That of a ResNet-20 refitted at 2.5x fewer MACs was 7 in the median and
14 at most: what is larger is a jump, not a step."""
_WARM = 0.05
"""Share of the steps in which the learning rate rises: the optimiser has no momentum yet."""
_MEMORY = 0.999
"""Largest share of the average that a step leaves in place."""


class Learner:
    """A program, its optimiser and the average of its weights; all processes hold the same.

    What `masks` leave out must be zero at the beginning, and stays zero: it gets no gradient. Then no weight
    decays, since zeros hold the network back enough: LeNet-300-100 with one weight in 75, trained for six
    epochs of 20,000 images, erred on 2.78 % of 5,000 others with decay, on 2.52 % without.
    """

    def __init__(
        self,
        program: Program,
        *,
        peak: float,
        steps: int,
        team: Processes,
        masks: Mapping[str, Mask] | None = None,
    ) -> None:
        self._program, self._team = program, team
        self._peak, self._steps, self._done = peak, steps, 0
        # In the graph's order: a program that was read back keeps it, whatever its module does.
        tensors = list({id(one): one for one in program.tensors().values()}.values())
        self._parameters = [one for one in tensors if isinstance(one, nn.Parameter) and one.requires_grad]
        trained = {id(one) for one in self._parameters}
        self._statistics = [one for one in tensors if one.is_floating_point() and id(one) not in trained]
        self._optimiser = _optimiser(self._parameters, peak, _DECAY if masks is None else 0.0)
        self._averages = _copied(program)
        named = program.tensors()
        self._masks = [
            (named[name], torch.from_numpy(mask).to(named[name].device))
            for name, mask in (masks or {}).items()
        ]

    def step(self, loss: Tensor, share: float) -> float:
        """Descend once; `loss` is this process' mean and counts by its share. The mean over all processes.

        Nothing moves when that mean is not finite.
        """
        self._optimiser.zero_grad()
        (loss * share).backward()  # type: ignore[no-untyped-call]
        total = self._agreed(loss, share)
        if not math.isfinite(total):
            return total
        for weight, mask in self._masks:
            if weight.grad is not None:
                weight.grad.mul_(mask)
        nn.utils.clip_grad_norm_(self._parameters, _CLIP)
        for group in self._optimiser.param_groups:
            group["lr"] = self._peak * _course(self._done, self._steps)
        self._optimiser.step()
        self._average()
        self._done += 1
        return total

    def averaged(self) -> dict[str, Tensor]:
        """The average of the weights and running statistics over the last steps, by name."""
        return self._averages

    def state(self, epochs: int) -> State:
        """All of it after so many epochs."""
        optimiser: dict[str, Any] = self._optimiser.state_dict()
        return State(epochs, _copied(self._program), dict(self._averages), optimiser)

    def restore(self, state: State, *, done: int) -> None:
        """Go on from a state, `done` steps in."""
        write(self._program, state.weights)
        for name, tensor in state.averages.items():
            self._averages[name].copy_(tensor)
        self._optimiser.load_state_dict(state.optimiser)
        self._done = done

    def _agreed(self, loss: Tensor, share: float) -> float:
        """Gradients, running statistics and the loss become those of the whole batch."""
        total = loss.detach().float() * share
        gradients = [one.grad for one in self._parameters if one.grad is not None]
        if self._team.count > 1:
            for one in self._statistics:
                one.mul_(share)
            self._team.add_up([*gradients, *self._statistics, total])
        return float(total)

    def _average(self) -> None:
        keep = min(_MEMORY, (1 + self._done) / (10 + self._done))
        tensors = self._program.tensors()
        with torch.no_grad():
            for name, average in self._averages.items():
                if average.is_floating_point():
                    average.lerp_(tensors[name], 1 - keep)
                else:
                    average.copy_(tensors[name])


def write(program: Program, weights: dict[str, Tensor]) -> None:
    """Put values of the same names and shapes into a program's tensors."""
    with torch.no_grad():
        for name, tensor in program.tensors().items():
            tensor.copy_(weights[name])


def _optimiser(parameters: list[nn.Parameter], peak: float, decay: float) -> torch.optim.Optimizer:
    """Weights decay; norms and biases do not: pulling a gain to zero is no regularisation."""
    decayed = [one for one in parameters if one.ndim > 1]
    free = [one for one in parameters if one.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=peak, momentum=_MOMENTUM, nesterov=True)


def _course(step: int, steps: int) -> float:
    """Share of the peak at a step: a short rise, then a cosine to zero."""
    warm = max(1, round(_WARM * steps))
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _copied(program: Program) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in program.tensors().items()}

"""A program that learns: one optimiser step at a time, with a running average of its weights beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeprune.core.sparsity import Mask
from edgeprune.graph.capture import Program
from edgeprune.graph.checkpoint import State
from edgeprune.graph.orthogonal import matrices, orthogonal, scale_of
from edgeprune.graph.processes import Processes
from edgeprune.graph.weights import copied, write

_MOMENTUM = 0.9
_CLIP = 20.0
"""Largest norm of the whole gradient. That of a ResNet-20 refitted at 2.5x fewer MACs was 7 in the median and
14 at most: what is larger is a jump, not a step."""
_WARM = 0.05
"""Share of the steps in which the learning rate rises: the optimiser has no momentum yet."""
_MEMORY = 0.999
"""Largest share of the average that a step leaves in place."""


class Learner:
    """A program, its optimiser and the average of its weights; all processes hold the same.

    At a learning rate of 0.01 a step moves a layer's weight by up to about a hundredth of its size at the
    start, whatever the size of the gradient (graph/orthogonal.py). Norms, biases and weights that are no such
    matrix go by their gradients. What `masks` leave out must be zero at the beginning, and stays zero: it
    gets no gradient. Then all weights go by their gradients, as an orthogonal matrix has no zeros.
    """

    def __init__(
        self,
        program: Program,
        *,
        peak: float,
        steps: int,
        team: Processes,
        annealed: bool = True,
        masks: Mapping[str, Mask] | None = None,
    ) -> None:
        self._program, self._team = program, team
        self._peak, self._steps, self._done = peak, steps, 0
        self._annealed = annealed
        # In the graph's order: a program that was read back keeps it, whatever its module does.
        tensors = list({id(one): one for one in program.tensors().values()}.values())
        self._parameters: list[Tensor] = [
            one for one in tensors if isinstance(one, nn.Parameter) and one.requires_grad
        ]
        trained = {id(one) for one in self._parameters}
        self._statistics = [one for one in tensors if one.is_floating_point() and id(one) not in trained]
        self._momenta = [torch.zeros_like(one) for one in self._parameters]
        self._averages = copied(program)
        # On the device, as a recorded step reads them at every replay.
        device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._rate, self._gain = torch.zeros((), device=device), torch.zeros((), device=device)
        named = program.tensors()
        whole = (
            {id(named[name]): scale_of(named[name]) for name in matrices(program)} if masks is None else {}
        )
        self._scales = [whole.get(id(one)) for one in self._parameters]
        """How far an entry of a weight goes at a learning rate of 1; None for what goes by its gradient."""
        self._masks = {
            id(named[name]): torch.from_numpy(mask).to(device) for name, mask in (masks or {}).items()
        }

    def begin(self) -> None:
        """Set what the next step depends on beside its loss: the learning rate, and the average's memory."""
        keep = min(_MEMORY, (1 + self._done) / (10 + self._done))
        self._rate.fill_(self._peak * _course(self._done, self._steps, self._annealed))
        self._gain.fill_(1 - keep)
        self._done += 1

    def step(self, loss: Tensor, share: float) -> Tensor:
        """Descend once; `loss` is this process' mean and counts by its share. The mean over all processes.

        Alone, nothing is read back from the device, so that the step can be recorded.
        """
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        moved = [place for place, one in enumerate(found) if one is not None]
        # Copies: where two parameters are added up, their gradients are one tensor.
        gradients = [*torch._foreach_mul([one for one in found if one is not None], share)]
        total = loss.detach().float() * share
        self._agree(gradients, total, share)
        with torch.no_grad():
            self._hold_zeros(moved, gradients)
            _clip(gradients)
            self._descend(moved, gradients)
            self._average()
        return total

    def averaged(self) -> dict[str, Tensor]:
        """The average of the weights and running statistics over the last steps, by name."""
        return self._averages

    def state(self, epochs: int) -> State:
        """All of it after so many epochs."""
        return State(epochs, copied(self._program), dict(self._averages), list(self._momenta))

    def restore(self, state: State, *, done: int) -> None:
        """Go on from a state, `done` steps in."""
        write(self._program, state.weights)
        for name, tensor in state.averages.items():
            self._averages[name].copy_(tensor)
        for momentum, tensor in zip(self._momenta, state.momenta, strict=True):
            momentum.copy_(tensor)
        self._done = done

    def _agree(self, gradients: list[Tensor], total: Tensor, share: float) -> None:
        """Gradients, running statistics and the loss become those of the whole batch."""
        if self._team.count > 1:
            for one in self._statistics:
                one.mul_(share)
            self._team.add_up([*gradients, *self._statistics, total])

    def _hold_zeros(self, moved: list[int], gradients: list[Tensor]) -> None:
        for place, gradient in zip(moved, gradients, strict=True):
            mask = self._masks.get(id(self._parameters[place]))
            if mask is not None:
                gradient.mul_(mask)

    def _descend(self, moved: list[int], gradients: list[Tensor]) -> None:
        """Nesterov's step as Sutskever et al. 2013 write it, and torch.optim.SGD takes it; no weight decays.

        In front of a batch norm a weight's size only says how far a step turns it, and training is short.
        """
        parameters = [self._parameters[place] for place in moved]
        momenta = [self._momenta[place] for place in moved]
        torch._foreach_mul_(momenta, _MOMENTUM)
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(gradients, momenta, alpha=_MOMENTUM)
        for number, place in enumerate(moved):
            scale = self._scales[place]
            if scale is not None:
                gradients[number] = orthogonal(gradients[number]).mul_(scale)
        torch._foreach_mul_(gradients, self._rate)
        torch._foreach_add_(parameters, gradients, alpha=-1)

    def _average(self) -> None:
        tensors = self._program.tensors()
        floating = [name for name, one in self._averages.items() if one.is_floating_point()]
        averages = [self._averages[name] for name in floating]
        change = torch._foreach_sub([tensors[name] for name in floating], averages)
        torch._foreach_mul_(change, self._gain)
        torch._foreach_add_(averages, change)
        for name, average in self._averages.items():
            if not average.is_floating_point():
                average.copy_(tensors[name])


def _clip(gradients: list[Tensor]) -> None:
    """Shorten a gradient that is longer than `_CLIP`."""
    if gradients:
        length = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, (_CLIP / (length + 1e-6)).clamp(max=1.0))


def _course(step: int, steps: int, annealed: bool) -> float:
    """Share of the peak at a step: a short rise, then a cosine to zero, or, not annealed, the peak."""
    warm = max(1, round(_WARM * steps))
    if step < warm:
        return (step + 1) / (warm + 1)
    if not annealed:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

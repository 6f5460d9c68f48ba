"""Surgery: a new program with narrower parameters and every constant of the graph rewritten."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.couple import Coupling, operator_name
from edgeprune.graph.flow import Axes, Narrowed
from edgeprune.graph.rules import RULES


def shrink(coupling: Coupling, cuts: tuple[Cut, ...]) -> Program:
    """Cut units out of a copy of the program; node and parameter names stay as they were."""
    program = coupling.program
    narrowed = coupling.narrowed(cuts)
    done: dict[int, Tensor] = {}
    tensors = {}
    for name, tensor in program.tensors().items():
        if id(tensor) not in done:
            done[id(tensor)] = _narrow(tensor.detach(), coupling.tensors[name], narrowed)
        tensors[name] = done[id(tensor)]
    module = rebuild(program, tensors)
    for node in module.graph.nodes:
        rule = RULES.get(operator_name(node))
        if rule is not None and rule.rewrite is not None:
            rule.rewrite(node, narrowed)
    module.graph.lint()
    module.recompile()
    return Program(module, program.input_size)


def _narrow(tensor: Tensor, axes: Axes, narrowed: Narrowed) -> Tensor:
    for axis, labels in enumerate(axes):
        if labels is not None:
            kept = narrowed.kept[labels]
            if not kept.all():
                tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(kept)))
    return tensor.clone()

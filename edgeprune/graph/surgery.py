"""Surgery: a new program with narrower parameters and every constant of the graph rewritten."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from edgeprune.core.plan import Cut
from edgeprune.graph.arrange import arranged_for
from edgeprune.graph.canonical import erase_unread
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.couple import Coupling
from edgeprune.graph.flow import Axes, Narrowed
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.rules import RULES


def shrink(coupling: Coupling, cuts: tuple[Cut, ...]) -> Program:
    """Cut units out of a copy of the program; node and parameter names stay as they were."""
    coupling = arranged_for(coupling, cuts)
    program = coupling.program
    narrowed = coupling.narrowed(cuts)
    done: dict[int, Tensor] = {}
    tensors = {}
    for name, tensor in program.tensors().items():
        if id(tensor) not in done:
            done[id(tensor)] = _narrow(tensor.detach(), coupling.tensors[name], narrowed)
        tensors[name] = done[id(tensor)]
    module = rebuild(program, tensors)
    # Backwards, so that a rule finds the operands of a node as they were labelled.
    for node in reversed(list(module.graph.nodes)):
        rule = RULES.get(operator_name(node))
        if rule is not None and rule.rewrite is not None:
            rule.rewrite(node, narrowed)
    _bypass(coupling, module, narrowed)
    module.graph.lint()
    module.recompile()
    return Program(module, program.inputs)


def _bypass(coupling: Coupling, module: GraphModule, narrowed: Narrowed) -> None:
    """Where a residual branch goes, its sum becomes what the branch was added to."""
    twins = {node.name: node for node in module.graph.nodes}
    gone = [block for label, block in coupling.blocks.items() if not narrowed.kept[label]]
    for block in gone:
        skip = twins[block.skip.name]
        twins[block.total.name].replace_all_uses_with(skip)
        # Whoever went on from this sum, further removed branches included, goes on from the skip.
        twins[block.total.name] = skip
    members = {node.name for block in gone for node in (*block.members, block.total)}
    # Rewrites may have added nodes behind those of a branch, and leave operators that nobody reads.
    read = {node.name for node in coupling.program.graph.nodes if node.op == "call_function" and node.users}
    known = set(coupling.axes) - members - read
    erase_unread(module, [node for node in module.graph.nodes if node.name not in known])


def _narrow(tensor: Tensor, axes: Axes, narrowed: Narrowed) -> Tensor:
    for axis, labels in enumerate(axes):
        if labels is not None:
            kept = narrowed.kept[labels]
            if not kept.all():
                tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(kept)))
    return tensor.clone()

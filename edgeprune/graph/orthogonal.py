"""Orthogonal steps: every direction of a weight moves as far as any other (Muon; Jordan et al. 2024).

The gradient of a layer's weight is dominated by a few directions; its nearest orthogonal matrix keeps the
directions and forgets how large each is, so that those which the gradient hardly sees are learned as fast.
What it is worth: docs/decisions/0018-orthogonal-steps.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.linear_map import LAYERS
from edgeprune.graph.nodes import argument, operator_name, single_sizes, stored

_STEPS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: five steps bring singular values of 0.002 and more between 0.68 and 1.21."""
_WIDTH_PER_ROW = 32
"""A step multiplies 20 n^2 m numbers, n the shorter side; the layer 6 n m for each row of a batch of about a
hundred images. With a row per image (a perceptron) steps take longer: 610 ms against 9 ms for 1,024 x 1,024
on one thread."""
_LEAST = 1e-12
"""Below the length of any gradient; none becomes infinite."""


def matrices(program: Program) -> set[str]:
    """Weights of linear layers and ungrouped convolutions that are worth the step and do not come last.

    The filters of groups read different channels, so no direction is common to them. What makes the answers
    has a scale of its own: each class moves by as much as its own answers are wrong.
    """
    last = _last_layers(program)
    tensors, found, left_out = program.tensors(), set(), set()
    for node in program.graph.nodes:
        if operator_name(node) not in LAYERS or (weight := stored(argument(node, 1))) is None:
            continue
        name = str(weight.target)
        whole = argument(node, 6, 1, "groups") == 1
        if whole and node not in last and _is_worth_it(node, tensors[name]):
            found.add(name)
        else:  # another layer may read the same weight
            left_out.add(name)
    return found - left_out


def _is_worth_it(layer: Node, weight: Tensor) -> bool:
    """Whether an orthogonal step takes less time than the layer itself takes for a batch."""
    value = layer.meta.get("val")
    if value is None:
        return False
    sizes = single_sizes(value)
    rows = math.prod(sizes[:-1]) if weight.ndim == 2 else sizes[0] * math.prod(sizes[2:])
    return min(len(weight), weight[0].numel()) <= _WIDTH_PER_ROW * rows


def _last_layers(program: Program) -> set[Node]:
    """Layers from which no other layer lies on a way to the outputs; all that write to a bare stream."""
    found, seen = set[Node](), set[Node]()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if operator_name(node) in LAYERS:
            found.add(node)
        else:
            waiting += node.all_input_nodes
    return found


def scale_of(weight: Tensor) -> float:
    """Root mean square of a weight's entries; of one that is all zeros, what it may be at first."""
    size = float(weight.detach().square().mean().sqrt())
    return size or 1 / math.sqrt(max(1, weight[0].numel()))


def orthogonal(gradient: Tensor) -> Tensor:
    """The orthogonal matrix nearest to a gradient of shape (out, ...), its entries' root mean square about 1.

    By Newton and Schulz' iteration, which needs products only. It is less for a gradient of low rank, and a
    gradient of zeros stays one.
    """
    rows = gradient.flatten(1)
    flat = len(rows) > rows.shape[1]
    found = rows.mT if flat else rows
    found = found / found.norm().clamp_min(_LEAST)
    first, third, fifth = _QUINTIC
    for _ in range(_STEPS):
        gram = found @ found.mT
        found = first * found + torch.addmm(gram, gram, gram, beta=third, alpha=fifth) @ found
    step: Tensor = (found.mT if flat else found) * math.sqrt(found.shape[1])
    return step.reshape(gradient.shape)

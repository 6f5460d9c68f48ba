"""Reconstruction: a layer moved together with what makes its input, towards what the original answers.

The ridge refit finds a reader's best weights for the channels that are left. What those channels hold is
the other half: without labels, each pair of layers by itself descends on the squared error at its end, as
block reconstruction does for quantized networks (Li et al. 2021, arXiv 2102.05426).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.optim.lr_scheduler import LambdaLR

from edgeprune.graph.capture import Program
from edgeprune.graph.consumers import Consumer, norm_epsilon, norm_tensors
from edgeprune.graph.linear_map import LAYERS
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.ridge import Sample

PASSES = 12
"""Over the calibration images (docs/decisions/0012-reconstruction.md)."""
_RATE = 0.005
"""Peak step of a tensor's entries, as a share of their root mean square."""
_IMAGES = 50
"""Per step, at most."""
_HELD_OUT = 5
"""One step's images in so many are not descended on: they tell whether it helped."""
_NORM = "aten.batch_norm.default"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """From what the first layers of a pair read to what the last one answers, its batch norm included.

    `makers` are the nodes up to `source`, which the last layer reads; nothing outside reads any of them.
    """

    entry: Node
    makers: tuple[Node, ...]
    source: Node
    ends: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All of it, in the order of execution."""
        return (*self.makers, *self.ends)


def segment_of(reader: Node, norm: Node | None) -> Segment | None:
    """The layers that make all a reader reads, with it; None where others read of it or have a share in it.

    All nodes belong to the graph of the shrunk program.
    """
    source = reader.args[0]
    assert isinstance(source, Node)
    found, entries, waiting = set[Node](), set[Node](), [source]
    while waiting:
        node = waiting.pop()
        if node in found or node.op == "get_attr":
            continue
        if node.op != "call_function":
            return None
        found.add(node)
        if operator_name(node) in LAYERS:
            entry = node.args[0]
            assert isinstance(entry, Node)
            entries.add(entry)
        else:
            waiting += node.all_input_nodes
    inside = {*found, reader}
    if len(entries) != 1 or not all(user in inside for node in found for user in node.users):
        return None
    makers = tuple(node for node in reader.graph.nodes if node in found)
    return Segment(entries.pop(), makers, source, (reader,) if norm is None else (reader, norm))


def reconstructed(
    program: Program,
    segment: Segment,
    one: Consumer,
    entries: Sequence[Tensor],
    samples: Sequence[Sample],
    *,
    passes: int,
    seed: int,
) -> dict[str, Tensor] | None:
    """New values for weights and shifts of a segment; None where images that were held out come no closer.

    Parameters
    ----------
    one : Consumer
        The last layer, as `samples` see it.
    entries : sequence of Tensor
        What the first layers read, batch by batch as in `samples`.
    """
    tensors = program.tensors()
    moving = {name: tensors[name].detach().clone().requires_grad_() for name in _moving(segment)}
    laid = [_laid_out(segment, entry) for entry in entries]
    parts = [part for pair in zip(laid, samples, strict=True) for part in _parts(one, *pair)]
    held_out, parts = parts[::_HELD_OUT], [part for place, part in enumerate(parts) if place % _HELD_OUT]
    if not parts:
        return None
    judge = _Judge(segment, one, tensors)
    before = judge.total(held_out, moving)
    optimiser = torch.optim.Adam([{"params": [one], "lr": _RATE * _size(one)} for one in moving.values()])
    steps = passes * len(parts)
    course = LambdaLR(optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    random = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        for place in torch.randperm(len(parts), generator=random).tolist():
            entry, sample = parts[place]
            optimiser.zero_grad()
            loss = judge.error(entry, sample, moving) / sample.wanted.numel()
            loss.backward()
            optimiser.step()
            course.step()
    after = judge.total(held_out, moving)
    # Not `after >= before`: an error that is not finite is no gain.
    return {name: value.detach() for name, value in moving.items()} if after < before else None


def renormed(program: Program, segment: Segment, entries: Sequence[Tensor]) -> dict[str, Tensor]:
    """Statistics of the inner norms as they are now, with gains and shifts that leave the answers alone."""
    tensors = program.tensors()
    norms = [node for node in segment.makers if operator_name(node) == _NORM]
    found: dict[str, Tensor] = {}
    for norm in norms:
        gain, shift, mean, variance = norm_tensors(norm) or (None,) * 4
        if gain is None or shift is None or mean is None or variance is None:
            continue
        centre, spread = _moments(segment, norm, entries, tensors)
        epsilon = norm_epsilon(norm)
        old = {name: tensors[name].detach().double() for name in (gain, shift, mean, variance)}
        scale = old[gain] / (old[variance] + epsilon).sqrt()
        found |= {
            mean: centre,
            variance: spread,
            gain: scale * (spread + epsilon).sqrt(),
            shift: old[shift] + scale * (centre - old[mean]),
        }
    return found


def source_values(program: Program, segment: Segment, entries: Sequence[Tensor]) -> list[Tensor]:
    """What the segment's last layer reads with the weights as they are."""
    tensors = program.tensors()
    with torch.no_grad():
        return [_run(segment.makers, {segment.entry: entry}, tensors)[segment.source] for entry in entries]


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Squared errors at the end of a segment, where what reads it can tell."""

    segment: Segment
    one: Consumer
    tensors: Mapping[str, Tensor]

    def error(self, entry: Tensor, sample: Sample, moving: Mapping[str, Tensor]) -> Tensor:
        values = _run(self.segment.nodes, {self.segment.entry: entry}, {**self.tensors, **moving})
        answer = self.one.map.outputs(values[self.segment.ends[-1]], sample.sites) + sample.beside
        low, high = self.one.linear_range
        return (answer.clamp(low, high) - sample.wanted.clamp(low, high)).square().sum()

    def total(self, parts: Sequence[tuple[Tensor, Sample]], moving: Mapping[str, Tensor]) -> float:
        with torch.no_grad():
            return float(sum(self.error(entry, sample, moving) for entry, sample in parts))


def _laid_out(segment: Segment, entry: Tensor) -> Tensor:
    """Maps with their channels side by side: narrow convolutions take half the time on a CPU."""
    viewed = any(operator_name(node).startswith("aten.view") for node in segment.nodes)
    if entry.ndim != 4 or viewed:  # a view of such maps is refused
        return entry
    return entry.contiguous(memory_format=torch.channels_last)


def _size(value: Tensor) -> float:
    """Root mean square of the entries; something where all are zero."""
    return max(float(value.detach().square().mean().sqrt()), 1e-8)


def _parts(one: Consumer, entry: Tensor, sample: Sample) -> list[tuple[Tensor, Sample]]:
    """A batch in pieces of a step's size; rows of one image lie side by side."""
    sites = sample.wanted.shape[1] // len(entry)
    found = []
    for start in range(0, len(entry), _IMAGES):
        rows = slice(start * sites, (start + _IMAGES) * sites)
        beside = sample.beside if isinstance(sample.beside, float) else sample.beside[:, rows]
        piece = Sample(sample.rows[:, :0], sample.wanted[:, rows], beside, sample.sites)
        found.append((entry[start : start + _IMAGES], piece))
    return found


def _moving(segment: Segment) -> list[str]:
    """Weights of layers, and what shifts their channels: of several tensors that do, one."""
    graph = segment.entry.graph
    uses = Counter(str(one.target) for one in graph.nodes if one.op == "get_attr" for _ in one.users)
    found = []
    for node in segment.nodes:
        operator = operator_name(node)
        places = (2,) if operator == _NORM else (1, 2) if operator in LAYERS else ()
        named = [node.args[place] for place in places if len(node.args) > place]
        found += [str(one.target) for one in named if isinstance(one, Node) and one.op == "get_attr"]
    return [name for name in found if uses[name] == 1]


def _moments(
    segment: Segment, norm: Node, entries: Sequence[Tensor], tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel of what a norm reads."""
    read = norm.args[0]
    assert isinstance(read, Node)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    with torch.no_grad():
        for entry in entries:
            value = _run(segment.makers, {segment.entry: entry}, tensors, keep=read)[read].double()
            rows = value.movedim(1, -1).flatten(0, -2)
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0)


def _run(
    nodes: Sequence[Node],
    values: dict[Node, Any],
    tensors: Mapping[str, Tensor],
    keep: Node | None = None,
) -> dict[Node, Any]:
    """Execute some nodes, up to `keep` where it is given."""

    def value_of(node: Node) -> Any:
        return tensors[str(node.target)] if node.op == "get_attr" else values[node]

    for node in nodes:
        arguments, keywords = torch.fx.map_arg((node.args, node.kwargs), value_of)
        assert callable(node.target)
        values[node] = node.target(*arguments, **keywords)
        if node is keep:
            break
    return values

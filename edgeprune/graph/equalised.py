"""Equalised: channels of about one size, so that one range of integers serves all of them.

A channel may be multiplied where it is made and divided where it is read (Nagel et al. 2019, arXiv
1906.04721); by powers of two, so that the network answers as before to the bit. Integer files have a step
for each output channel of a weight but one for all channels of an activation, so what is evened out are
activations, against the columns of the weights that read them (after Xiao et al. 2022, SmoothQuant, arXiv
2211.10438).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.fx import Node

from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.consumers import Consumer, consumers, norm_tensors
from edgeprune.graph.couple import couple
from edgeprune.graph.linear_map import Windows
from edgeprune.graph.memory import images_per_batch
from edgeprune.graph.nodes import operator_name
from edgeprune.graph.replay import observe
from edgeprune.graph.spans import Span, find_spans
from edgeprune.graph.weights import copied

_IMAGES = 200
_HUSHED = 1 / 16
"""Share of the median that a channel counts as at least: other images may hold more of it than these."""
_STEP = 1 / 128
"""Share of its row's range that a weight counts as at least: smaller ones are nothing in integers."""


def equalised(program: Program, calibration: Split) -> Program:
    """A copy of the program that answers the same, with channels of about one size wherever that can be."""
    coupling = couple(program)
    spans = find_spans(program, consumers(coupling))
    images = calibration.take(_IMAGES).inputs(images_per_batch(coupling))
    sizes = _sizes(program, spans, [torch.from_numpy(one) for one in images])
    tensors = copied(program)
    for span, size in zip(spans, sizes, strict=True):
        tensors |= scaled(span, _scale(span, size, tensors), tensors)
    return Program(rebuild(program, tensors), program.inputs)


def scaled(span: Span, scale: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the span's makers and readers hold with its channels multiplied, scale of shape (channels,)."""
    changed: dict[str, Tensor] = {}
    for one in span.makers:
        norm = norm_tensors(one.norm) if one.norm is not None else None
        for name in (one.weight, one.bias) if norm is None else norm[:2]:
            if name is not None:
                tensor = tensors[name]
                changed[name] = tensor * scale.reshape(-1, *[1] * (tensor.ndim - 1))
    for one in span.readers:
        weight = changed.get(one.weight, tensors[one.weight])
        groups = _groups(one)
        read = scale.reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)
        changed[one.weight] = weight / read.reshape(*read.shape, *[1] * (weight.ndim - 2))
    return changed


def _sizes(program: Program, spans: Sequence[Span], batches: Sequence[Tensor]) -> list[Tensor]:
    """Per span the largest magnitude of each channel, shape (channels,)."""
    place = {node: number for number, span in enumerate(spans) for node in span.values if not _hidden(node)}
    found: dict[int, Tensor] = {}

    def look(node: Node, value: Tensor) -> None:
        seen = value.abs().transpose(0, 1).flatten(1).amax(1)
        found[place[node]] = torch.maximum(found.get(place[node], seen), seen)

    for batch in batches:
        observe(program, batch, place, look)
    return [found[number] for number in range(len(spans))]


def _hidden(node: Node) -> bool:
    """Whether a value is never stored: the runtimes compute a ReLU together with what it reads."""
    return [operator_name(user) for user in node.users] == ["aten.relu.default"]


def _scale(span: Span, size: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What each channel is multiplied with, (channels,): powers of two around one."""
    heard = size[size > 0]
    if not len(heard):
        return torch.ones_like(size)
    size = size.clamp_min(float(heard.median()) * _HUSHED)
    columns = [_column_sizes(one, tensors[one.weight]) for one in span.readers]
    shared = [one for one in columns if one is not None]
    scale = (reduce(torch.maximum, shared) / size).sqrt() if shared else 1 / size
    exponents = scale.log2()
    return (exponents - exponents.mean()).round().exp2()


def _column_sizes(one: Consumer, weight: Tensor) -> Tensor | None:
    """Per input channel the largest share that its weights have of their row's range.

    None where every row reads one channel only: its step follows the scale, and nothing is lost.
    """
    rows = weight.abs().flatten(2).amax(2) if weight.ndim > 2 else weight.abs()
    if rows.shape[1] == 1:
        return None
    shares = rows / rows.amax(1, keepdim=True).clamp_min(1e-30)
    return shares.reshape(_groups(one), -1, rows.shape[1]).amax(1).flatten().clamp_min(_STEP)


def _groups(one: Consumer) -> int:
    return one.map.groups if isinstance(one.map, Windows) else 1

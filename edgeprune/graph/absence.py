"""Absence: the tensors with which a network answers as if units were gone and their readers refitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgeprune.core.group import Group
from edgeprune.graph.consumers import Consumer, norm_tensors
from edgeprune.graph.couple import Coupling
from edgeprune.graph.eliminate import RIDGE
from edgeprune.graph.evidence import GroupEvidence, unit_columns
from edgeprune.graph.gram import Gram, ridged
from edgeprune.graph.sensitivity import Trial


def absence(evidence: GroupEvidence, group: Group, removed: Sequence[int]) -> Trial:
    """The network without some units of a group, each reader refitted by itself to what is left.

    What no layer reads linearly (dimensions of query and key) is silenced where it is made.
    """
    readings = evidence.readings(group)
    if not readings:
        return _silence(evidence.coupling, group, removed)
    parts = [
        (
            one,
            gram,
            torch.from_numpy(unit_columns(one, piece)[list(removed)].ravel()),
        )
        for one, piece, gram in readings
    ]
    return _refitted(evidence, parts)


def absent_branch(evidence: GroupEvidence, names: Sequence[str]) -> Trial | None:
    """The network with some residual branches answering their mean; None where one's last layer is not known.

    Their mean, not zero: a constant is what later layers of the stream make up for without any loss.
    """
    totals = {block.name: block.total for block in evidence.coupling.blocks.values()}
    found = [evidence.last_layer(totals[name]) for name in names]
    parts = [(*one, torch.arange(one[1].mean.shape[1])) for one in found if one is not None]
    return _refitted(evidence, parts) if len(parts) == len(names) else None


def _refitted(evidence: GroupEvidence, parts: Sequence[tuple[Consumer, Gram, Tensor]]) -> Trial:
    tensors = evidence.tensors

    def values() -> dict[str, Tensor]:
        changed: dict[str, Tensor] = {}
        for one, gram, gone in parts:
            changed |= _without(one, gram, gone, tensors)
        return changed

    names = [name for one, _, _ in parts for name in (one.weight, *_constants(one))]
    return Trial(tuple(names), values)


def _without(one: Consumer, gram: Gram, gone: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    weight = tensors[one.weight].double()
    columns = one.map.columns(weight)
    matrix = ridged(gram.covariance(centred=one.has_intercept), RIDGE)
    fitted = _without_columns(matrix, columns, gone)
    changed = {one.weight: one.map.weight(fitted, weight)}
    for name in _constants(one):
        lost = one.map.joined((gram.mean[:, None] @ (columns - fitted))[:, 0])
        # A batch norm subtracts its running mean: there the lost constant has the other sign.
        changed[name] = tensors[name].double() + (lost if one.norm is None else -lost)
    return changed


def _without_columns(matrix: Tensor, columns: Tensor, gone: Tensor) -> Tensor:
    """The columns that come closest without some of their entries, in every block."""
    stays = torch.ones(columns.shape[1], dtype=torch.bool)
    stays[gone] = False
    fitted = torch.zeros_like(columns)
    if stays.any():
        fitted[:, stays] = torch.linalg.solve(matrix[:, stays][:, :, stays], matrix[:, stays] @ columns)
    return fitted


def _constants(one: Consumer) -> tuple[str, ...]:
    """The tensor that can hold a constant of the layer's output: its norm's running mean, or its bias."""
    names = norm_tensors(one.norm) if one.norm is not None else None
    if names is not None:
        return (names[2],)
    return (one.bias,) if one.bias is not None else ()


def _silence(coupling: Coupling, group: Group, removed: Sequence[int]) -> Trial:
    pieces = [piece for piece in group.slices if piece.role != "consumer"]

    def values() -> dict[str, Tensor]:
        tensors = coupling.program.tensors()
        changed: dict[str, Tensor] = {}
        for piece in pieces:
            value = changed.setdefault(piece.tensor, tensors[piece.tensor].detach().clone())
            gone = np.unique(piece.indices[list(removed)])
            value.index_fill_(piece.axis, torch.from_numpy(gone), 0)
        return changed

    return Trial(tuple(dict.fromkeys(piece.tensor for piece in pieces)), values)

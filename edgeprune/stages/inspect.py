"""Inspect: the groups of a network, what each would save, what is locked and why."""

from __future__ import annotations

from edgeprune.core.group import INEXACT, Group
from edgeprune.core.inspection import Ceiling, GroupRow, Inspection, Lock
from edgeprune.core.plan import Cost, Cut
from edgeprune.graph.cost import CostModel, count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.trace import Tracer


def inspect_groups(coupling: Coupling) -> Inspection:
    """Describe every group; nothing is cut."""
    rows = _Rows(coupling)
    tracer = Tracer(coupling)
    return Inspection(
        graph=coupling.program.fingerprint(),
        inputs=tuple(one.described for one in coupling.program.inputs),
        cost=count(coupling),
        least=_least(coupling),
        beyond=_beyond(coupling),
        groups=tuple(rows.row(group) for group in coupling.groups),
        layers=tuple(
            tracer.row(layer)
            for layer in tracer.layers.values()
            if layer.matrix and (layer.made or layer.consumptions)
        ),
    )


class _Rows:
    """Describes groups one by one; the cost of the whole network is counted once."""

    def __init__(self, coupling: Coupling) -> None:
        self._coupling = coupling
        self._model = CostModel(coupling)
        whole = coupling.kept(())
        self._macs, self._parameters = self._model.macs(whole), self._model.parameters(whole)

    def row(self, group: Group) -> GroupRow:
        macs = parameters = 0
        if group.locked is None and group.units > 1:
            kept = self._coupling.kept((_to_one(group),))
            macs = self._macs - self._model.macs(kept)
            parameters = self._parameters - self._model.parameters(kept)
        return GroupRow(
            id=group.id,
            kind=group.kind,
            units=group.units,
            members=self._members(group),
            names=group.names,
            macs=macs,
            parameters=parameters,
            locked=Lock.of(group.locked),
            inexact=group.inexact,
            lanes=self._coupling.lanes[group.id].count if group.id in self._coupling.lanes else 0,
        )

    def _members(self, group: Group) -> tuple[str, ...]:
        names = [piece.tensor for piece in group.slices]
        if group.kind == "blocks":
            names = [name for block in self._coupling.blocks.values() for name in block.tensors]
        return tuple(dict.fromkeys(names))


def _to_one(group: Group) -> Cut:
    return Cut(group=group.id, units=group.units, kept=(0,))


def _least(coupling: Coupling) -> Cost:
    return count(coupling, coupling.narrowed(_to_one(group) for group in coupling.free()))


def _beyond(coupling: Coupling) -> Ceiling | None:
    """The ceiling with every inexact operator allowed, where that frees something."""
    if not any(group.locked and group.locked.inexact for group in coupling.groups):
        return None
    opened = couple(coupling.program, INEXACT)
    least = _least(opened)
    if least == _least(coupling):
        return None
    return Ceiling(
        allow=tuple(sorted({name for group in opened.free() for name in group.inexact})), least=least
    )

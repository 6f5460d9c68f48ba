"""Inspect: the groups of a network, what each would save, what is locked and why."""

from __future__ import annotations

from edgeprune.core.group import Group
from edgeprune.core.inspection import GroupRow, Inspection
from edgeprune.core.plan import Cut
from edgeprune.graph.cost import CostModel, count
from edgeprune.graph.couple import Coupling


def inspect_groups(coupling: Coupling) -> Inspection:
    """Describe every group; nothing is cut."""
    model = CostModel(coupling)
    everything = tuple(_to_one(group) for group in coupling.free())
    return Inspection(
        graph=coupling.program.fingerprint(),
        input=coupling.program.input_size,
        cost=count(coupling),
        least=count(coupling, coupling.narrowed(everything)),
        groups=tuple(_row(coupling, model, group) for group in coupling.groups),
    )


def _row(coupling: Coupling, model: CostModel, group: Group) -> GroupRow:
    macs = parameters = 0
    if group.locked is None and group.units > 1:
        whole = coupling.kept(())
        narrow = coupling.kept((_to_one(group),))
        macs = model.macs(whole) - model.macs(narrow)
        parameters = model.parameters(whole) - model.parameters(narrow)
    return GroupRow(
        id=group.id,
        units=group.units,
        members=tuple(dict.fromkeys(piece.tensor for piece in group.slices)),
        macs=macs,
        parameters=parameters,
        locked=str(group.locked) if group.locked else "",
        hint=group.locked.hint if group.locked else "",
    )


def _to_one(group: Group) -> Cut:
    return Cut(group=group.id, units=group.units, kept=(0,))

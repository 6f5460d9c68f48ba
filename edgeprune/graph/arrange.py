"""Arrange: channels change places within the groups of their convolutions, what is computed stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from edgeprune.core.plan import Cut, Plan
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.consumers import norm_tensors
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.lanes import Moves, Order, moves, named, orders_of, paired, strengths
from edgeprune.graph.nodes import operator_name


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """A network with channels moved within their lanes, and where each came from."""

    coupling: Coupling
    orders: Mapping[str, Order]

    def named(self, cuts: Iterable[Cut]) -> tuple[Cut, ...]:
        """Its cuts in terms of the network as it was."""
        return tuple(named(cut, self.orders.get(cut.group)) for cut in cuts)


def arranged(coupling: Coupling, orders: Mapping[str, Order]) -> Coupling:
    """The same network with channels moved within their lanes; groups and nodes keep their names."""
    if not orders:
        return coupling
    program, moved = coupling.program, _moves(coupling, orders)
    done: dict[int, Tensor] = {}
    tensors = {}
    for name, tensor in program.tensors().items():
        # Tied tensors are one, and are moved once.
        if id(tensor) not in done:
            done[id(tensor)] = moved[name].of(tensor.detach()) if name in moved else tensor.detach()
        tensors[name] = done[id(tensor)]
    return replace(coupling, program=Program(rebuild(program, tensors), program.inputs))


def coupled_anew(coupling: Coupling, orders: Mapping[str, Order], allow: Iterable[str]) -> Coupling:
    """As `arranged`, coupled again, so that its parts name the nodes of its own program."""
    return couple(arranged(coupling, orders).program, allow) if orders else coupling


def arrange(coupling: Coupling, orders: Mapping[str, Order], allow: Iterable[str]) -> Arrangement:
    """As `coupled_anew`, with the way back."""
    return Arrangement(coupled_anew(coupling, orders, allow), orders)


def arranged_for(coupling: Coupling, cuts: Iterable[Cut]) -> Coupling:
    """The network in which cuts with lanes of their own are cuts of the same places in every lane."""
    return arranged(coupling, orders_of(cuts))


def coupled_for(coupling: Coupling, plan: Plan) -> Coupling:
    """As `arranged_for` a plan's cuts, coupled again."""
    return coupled_anew(coupling, orders_of(plan.cuts), plan.allow_inexact)


def moves_of(coupling: Coupling, cuts: Iterable[Cut]) -> dict[str, Moves]:
    """What `arranged_for` does to every tensor it touches."""
    return _moves(coupling, orders_of(cuts))


def by_strength(coupling: Coupling) -> dict[str, Order]:
    """The orders that put channels of one rank within their lanes into one unit.

    The weakest of every lane go together then, rather than those that happen to have the same place.
    """
    norms = [
        norm_tensors(node)
        for node in coupling.program.graph.nodes
        if operator_name(node) == "aten.batch_norm.default"
    ]
    gains = frozenset(names[0] for names in norms if names and names[0])
    tensors = coupling.program.tensors()
    return {
        group.id: paired(strengths(group, coupling.lanes[group.id], tensors, gains))
        for group in coupling.free("channels")
        if group.id in coupling.lanes
    }


def _moves(coupling: Coupling, orders: Mapping[str, Order]) -> dict[str, Moves]:
    sizes = {name: tuple(tensor.shape) for name, tensor in coupling.program.tensors().items()}
    return moves(coupling.groups, coupling.lanes, orders, sizes)

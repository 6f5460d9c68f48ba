"""What the tests of the rules ask: which indices of which tensors are cut together, and why not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from zoo import SITUATIONS, Forward, Net

from edgeprune.core.group import Kind
from edgeprune.core.plan import Cut
from edgeprune.graph.capture import capture
from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling, couple


def situation(name: str) -> Coupling:
    """The coupling of one network of the zoo."""
    one = SITUATIONS[name]
    return one.coupling()


def wired(
    wiring: Forward, *input_size: int, allow: tuple[str, ...] = (), **parts: nn.Module | Tensor
) -> Coupling:
    """The coupling of layers and how they are wired."""
    return couple(capture(Net(wiring, **parts).eval(), input_size), allow)


def classes(coupling: Coupling, tensor: str, axis: int) -> list[int]:
    """For every index of an axis the number of its class: equal numbers are cut together."""
    labels = coupling.tensors[tensor][axis]
    assert labels is not None
    return coupling.class_of[labels].tolist()


def why_locked(coupling: Coupling, group: str) -> str:
    """The reason that locks a group, in full."""
    (found,) = (one for one in coupling.groups if one.id == group)
    assert found.locked is not None
    return str(found.locked)


def free(coupling: Coupling) -> dict[str, int]:
    """Units of every group that may be cut."""
    return {group.id: group.units for group in coupling.free()}


def keeping(coupling: Coupling, **kept: tuple[int, ...]) -> tuple[Cut, ...]:
    """Cuts by group; `__` may stand for a dot in a group's name."""
    units = {group.id: group.units for group in coupling.groups}
    return tuple(
        Cut(group=name, units=units[name], kept=kept[short])
        for short in kept
        for name in [short.replace("__", ".")]
    )


def halves(coupling: Coupling, *kinds: Kind) -> tuple[Cut, ...]:
    """Every second unit of every free group of some kinds (all without) goes."""
    return tuple(
        Cut(group=group.id, units=group.units, kept=tuple(range(1, group.units, 2)))
        for group in coupling.free(*kinds)
    )


def assert_exact(coupling: Coupling) -> None:
    """Whatever is cut is exact: half of everything, all but one unit of everything, each group alone."""
    last = tuple(
        Cut(group=one.id, units=one.units, kept=(one.units // 2,))
        for one in coupling.free()
        if one.kind != "blocks"
    )
    assert last
    for cuts in (halves(coupling), last, *((cut,) for cut in last)):
        proven = prove(coupling, cuts)
        assert proven.refused == {}
        assert proven.cuts == cuts


def constants(module: torch.fx.GraphModule, operator: str) -> list[tuple[object, ...]]:
    """The arguments that are no tensors, of every node with that operator."""
    return [
        tuple(value for value in node.args if not isinstance(value, torch.fx.Node))
        for node in module.graph.nodes
        if str(node.target) == operator
    ]

"""Explain: follow the channels of a layer, or of every layer under a prefix, through the network."""

from __future__ import annotations

from edgeprune.core.errors import RequestError, nearest
from edgeprune.core.explanation import Explanation, LayerExplanation, Membership, Step
from edgeprune.core.group import Group
from edgeprune.core.inspection import Lock
from edgeprune.graph.couple import Coupling
from edgeprune.graph.nodes import module_of, operator_name, source_of
from edgeprune.graph.trace import Layer, Tracer

_LISTED = 8
"""Names in a hint: more would hide the first."""


def explain_layer(coupling: Coupling, name: str) -> Explanation:
    """What happens to the channels of the layer `name`, or of the layers below it.

    Raises
    ------
    RequestError
        No layer with parameters has that name or starts with it; the hint has the nearest.
    """
    tracer = Tracer(coupling)
    asked = name.strip().strip(".")
    found = [tracer.layers[asked]] if asked in tracer.layers else _below(tracer, asked)
    if not found:
        raise RequestError(f"no layer is called '{name}'", hint=_nearest(name, list(tracer.layers)))
    return Explanation(
        graph=coupling.program.fingerprint(),
        inputs=tuple(one.described for one in coupling.program.inputs),
        asked=asked,
        layers=tuple(_explained(tracer, layer) for layer in found),
    )


def _below(tracer: Tracer, prefix: str) -> list[Layer]:
    return [layer for path, layer in tracer.layers.items() if path.startswith(f"{prefix}.")]


def _nearest(name: str, known: list[str]) -> str:
    close = nearest(name, [*known, *_parents(known)])
    listed = ", ".join(known[:_LISTED])
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"did you mean '{close}'?" if close else f"layers with parameters: {listed}{more}"


def _parents(known: list[str]) -> list[str]:
    parts = (path.split(".") for path in known)
    return list(dict.fromkeys(".".join(one[:depth]) for one in parts for depth in range(1, len(one))))


def _explained(tracer: Tracer, layer: Layer) -> LayerExplanation:
    return LayerExplanation(
        layer=tracer.row(layer),
        sources=tracer.sources(layer),
        reads_groups=tuple(group.id for group in tracer.groups_read(layer)),
        groups=tuple(_membership(tracer, group) for group in tracer.groups_of(layer)),
        steps=tuple(
            Step(
                does=step.does,
                operator=operator_name(step.node),
                layer=module_of(step.node),
                source=source_of(step.node),
                others=step.others,
            )
            for step in tracer.steps(layer)
        ),
        branches=tuple(tracer.branches(layer)),
    )


def _membership(tracer: Tracer, group: Group) -> Membership:
    removal = tracer.removal(group)
    return Membership(
        group=group.id,
        kind=group.kind,
        units=group.units,
        locked=Lock.of(group.locked),
        inexact=group.inexact,
        macs=removal.macs,
        parameters=dict(removal.parameters),
    )

"""Scales: how the seconds of capture, coupling, planning and surgery grow with the nodes of the graph."""

from __future__ import annotations

import torch

from benchmarks.zoo.child import Notes
from benchmarks.zoo.cutting import captured, clock, warm_up
from benchmarks.zoo.networks import Network
from benchmarks.zoo.peer import ignored_layers, pruner
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph.couple import couple
from edgeprune.graph.surgery import shrink
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen

SCALES = (
    "alexnet resnet18 resnet50 mobilenet_v3_large efficientnet_b0 shufflenet_v2_x1_0 densenet121 resnet152 "
    "vit_b_16 densenet201 efficientnet_b7 swin_v2_s"
).split()
ROUNDS = 3
PEER_TIMEOUT_S = 150
_BUDGET = Budget(speedup=1.3)
"""A budget every network of the list can meet with its free groups."""


def scale(notes: Notes, side: str, name: str, round: str) -> None:
    """One measurement of the table `scaling`; `round` only tells repetitions apart."""
    {"edgeprune": _scale_here, "torch-pruning": _scale_there}[side](notes, name)


def _scale_here(notes: Notes, name: str) -> None:
    notes.doing("build")
    module, sizes = Network("torchvision", name).build()
    warm_up()
    seconds: dict[str, float] = {}
    notes.doing("capture")
    with clock(seconds, "capture"):
        program = captured(module, sizes)
    notes.doing("couple", nodes=len(program.graph.nodes))
    with clock(seconds, "couple"):
        coupling = couple(program)
    notes.doing("screen", seconds=seconds)
    with clock(seconds, "screen"):
        screening = screen(coupling, None, build("criteria", "l2"), name="l2")
    notes.doing("plan", seconds=seconds)
    with clock(seconds, "plan"):
        found = plan(coupling, screening, _BUDGET, multiple=8)
    notes.doing("shrink")
    with clock(seconds, "shrink"):
        shrink(coupling, found.cuts)
    notes.done(seconds=seconds)


def _scale_there(notes: Notes, name: str) -> None:
    notes.doing("build")
    module, sizes = Network("torchvision", name).build()
    example = torch.randn(1, *sizes[0])
    ignored = ignored_layers(module, example)
    seconds: dict[str, float] = {}
    notes.doing("dependency graph")
    with clock(seconds, "graph"):
        found = pruner(module, example, ignored, round_to=8)
    notes.doing("pruning step", seconds=seconds)
    with clock(seconds, "step"):
        found.step()
    notes.done(seconds=seconds)

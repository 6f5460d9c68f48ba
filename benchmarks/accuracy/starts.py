"""Starts: where recovery begins, worked out once and kept, so that a lent machine only has to train.

A kept start is a plan and weights, or the weights alone of what Torch-Pruning cut; nothing in it is code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.accuracy import peer
from benchmarks.accuracy.checkout import as_installed
from benchmarks.accuracy.subjects import Subject
from edgeprune.core.files import written_whole
from edgeprune.core.plan import Plan
from edgeprune.core.registry import build_from
from edgeprune.core.request import Budget
from edgeprune.core.samples import Splits
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling
from edgeprune.graph.weights import write
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay, shrink

OURS = "edgeprune"
PEER = "Torch-Pruning"
PEER_WAY = "group l2"


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut, by whom, and how far."""

    maker: str
    network: str
    speedup: float
    seed: int
    criterion: str
    multiple: int
    calibration: int

    @property
    def file(self) -> str:
        """What its kept start is called."""
        ours = f"{self.criterion.replace('?', '-')}-{self.calibration}"
        way = ours if self.maker == OURS else PEER_WAY.replace(" ", "-")
        return f"{self.network}-{self.maker}-{way}-{self.speedup:g}x-{self.multiple}-{self.seed}.pt"


def start_of(cut: Cut, subject: Subject, splits: Splits, original: Coupling, kept: Path | None) -> Program:
    """The cut network, refitted if it is edgeprune's; kept in a folder, or found there."""
    path = None if kept is None else kept / cut.file
    if path is not None and path.exists():
        return _found(path, subject, original)
    if cut.maker == PEER:
        macs = int(count(original).macs / cut.speedup)
        module = peer.pruned(
            subject.build,
            subject.size,
            PEER_WAY,
            macs,
            everywhere=True,
            ignored=peer.classifier,
            seed=cut.seed,
        )
        _keep(path, "", module.state_dict())
        return capture(module.eval(), subject.size)
    program, done = refitted(original, splits, Budget(speedup=cut.speedup), cut)
    _keep(path, done.model_dump_json(), program.tensors())
    return program


def refitted(coupling: Coupling, splits: Splits, budget: Budget, cut: Cut) -> tuple[Program, Plan]:
    """The stages that need no training, one after the other."""
    as_installed()
    ranks = screen(
        coupling,
        splits.calibration,
        build_from("criteria", cut.criterion),
        name=cut.criterion,
        classes=splits.classes,
        selection=splits.selection,
        seed=cut.seed,
        also=("gram", "moments"),
    )
    proposal = plan(coupling, ranks, budget, multiple=cut.multiple, seed=cut.seed)
    program, done, _ = shrink(coupling, proposal)
    program, _ = compensate(coupling, program, done, splits.calibration, splits.selection, seed=cut.seed)
    return program, done


def _keep(path: Path | None, plan_text: str, tensors: dict[str, torch.Tensor]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: one.detach().clone() for name, one in tensors.items()}
    with written_whole(path) as scratch:
        torch.save({"plan": plan_text, "weights": weights}, scratch)


def _found(path: Path, subject: Subject, original: Coupling) -> Program:
    held = torch.load(path, weights_only=True)
    if not held["plan"]:
        return capture(peer.narrowed(subject.build(), held["weights"]).eval(), subject.size)
    done = Plan.parse(json.loads(held["plan"]), source=str(path))
    # Another torch may write the graph another way, so the plan's fingerprint is not asked for.
    program = replay(original, done)
    write(program, held["weights"])
    return program

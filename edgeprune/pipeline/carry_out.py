"""Carrying out a plan that was made before: on a checkpoint, or on the user's own class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.application import Application
from edgeprune.core.errors import GateError
from edgeprune.core.plan import Plan, find_plan
from edgeprune.core.progress import Progress, Silent
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.give_back import give_back as give_the_class_back
from edgeprune.graph.give_back import refilled
from edgeprune.pipeline.kept import Cut
from edgeprune.pipeline.look import looked_at, sizes
from edgeprune.stages.ask import ask_to_look
from edgeprune.stages.hand_over import hand_over, require_room
from edgeprune.stages.load import load
from edgeprune.stages.shrink import shrink

if TYPE_CHECKING:
    from torch import nn


def apply(
    plan: str | Path | Plan,
    model: str | Path | nn.Module,
    *,
    arch: str | None = None,
    input: tuple[int, ...] | None = None,
    out: str | Path | None = None,
    state: str | Path | None = None,
    force: bool = False,
    trust_pickle: bool = False,
    progress: Progress | None = None,
) -> Application:
    """Carry out a plan on any checkpoint of the network it was made for, with the proof.

    Parameters
    ----------
    plan : path or Plan
        `plan.json`, the run folder that holds it, or a plan.
    out : path, optional
        The `.pt2` to write; default `<model>-shrunk.pt2` in the current folder.
    state : path, optional
        Where to write the narrow state dict, too.
    force : bool
        Overwrite what is there.

    Raises
    ------
    GateError
        The proof fails; nothing is written.
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    inputs = [Path(one) for one in (plan, model) if isinstance(one, (str, Path))]
    source = Path(model) if isinstance(model, (str, Path)) else model
    name = source.stem if isinstance(source, Path) else "module"
    file = Path(out) if out is not None else Path(f"{name}-shrunk.pt2")
    beside = Path(state) if state is not None else None
    require_room([file, *([beside] if beside else [])], inputs=inputs, force=force)
    chosen = plan if isinstance(plan, Plan) else find_plan(Path(plan))
    look = ask_to_look(
        source,
        arch=arch,
        inputs=sizes(input or chosen.input),
        trust_pickle=trust_pickle,
        allow_inexact=chosen.allow_inexact,
    )
    told = progress or Silent()
    told.start("load")
    coupling = looked_at(source, look)
    told.finish()
    cut = _carried_out(coupling, chosen, told)
    written = hand_over(coupling.program, cut.program, cut.plan, file, beside)
    return Application(model=name, plan=cut.plan, proof=cut.proof, files=tuple(str(one) for one in written))


def give_back(
    module: nn.Module,
    plan: str | Path | Plan,
    *,
    weights: str | Path | None = None,
    input: tuple[int, ...] | None = None,
) -> nn.Module:
    """A copy of your module at the plan's widths, to go on with your own training code.

    Parameters
    ----------
    module : Module
        The network the plan was made for; it is left as it was.
    plan : path or Plan
        `plan.json`, the run folder that holds it, or a plan.
    weights : path, optional
        The run's `model.pt2`: the refitted weights; default the module's own, narrowed.

    Raises
    ------
    ModelError
        The class cannot carry the new widths; the message says which line stands against it.
    EdgepruneError
        See `edgeprune.core.errors` for the tree.
    """
    chosen = plan if isinstance(plan, Plan) else find_plan(Path(plan))
    original = load(module, arch=None, input_size=input or chosen.input or None)
    cut = _carried_out(couple(original, chosen.allow_inexact), chosen, Silent())
    shrunk = cut.program
    if weights is not None:
        shrunk = refilled(shrunk, load(Path(weights), arch=None, input_size=None), source=str(weights))
    return give_the_class_back(module, original, shrunk, cut.plan)


def _carried_out(coupling: Coupling, plan: Plan, progress: Progress) -> Cut:
    """All of a plan or nothing: half of one is another plan, which nobody decided on."""
    progress.start("shrink and prove")
    cut = Cut(*shrink(coupling, plan))
    progress.finish()
    for group, reason in cut.proof.refused.items():
        raise GateError(
            f"plan: group '{group}' cannot be cut: {reason}",
            hint="take it out of the plan's cuts, and delete 'tensors'; they are worked out again",
        )
    return cut

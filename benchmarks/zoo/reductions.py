"""Reductions: what ratio 0.5 with aligned widths leaves of a network, by edgeprune and by Torch-Pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.zoo.child import Notes
from benchmarks.zoo.cutting import captured, clock, kind_of, warm_up
from benchmarks.zoo.networks import Network
from benchmarks.zoo.peer import ignored_layers, pruner, torch_pruning
from edgeprune.core.group import Group
from edgeprune.core.plan import Cut
from edgeprune.graph.check import prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.graph.surgery import shrink

MULTIPLE = 8
REDUCTIONS = {
    "resnet18": (1.82, 0.49),
    "vgg11_bn": (7.64, 1.94),
    "resnext50_32x4d": (4.27, 1.56),
    "densenet121": (2.88, 0.76),
    "googlenet": (1.51, 0.41),
    "inception_v3": (5.73, 1.44),
    "mobilenet_v2": (0.32, 0.09),
    "mobilenet_v3_large": (0.23, 0.06),
    "efficientnet_b0": (0.40, 0.11),
    "efficientnet_v2_s": (2.88, 0.71),
    "regnet_y_400mf": (0.41, 0.23),
    "regnet_x_400mf": (0.42, 0.11),
    "convnext_tiny": (4.47, 1.15),
    "vit_b_16": (17.59, 12.01),
}
"""The bar, in GMACs before and after: Torch-Pruning 1.6.1 by its own counter, as measured beforehand."""
INEXACT = {"convnext_tiny", "vit_b_16"}
"""Networks whose residual stream runs through layer norms, which have to be allowed."""


def reduce(notes: Notes, side: str, name: str) -> None:
    """One half of a row of the table `peers`."""
    {"edgeprune": _reduce_here, "torch-pruning": _reduce_there}[side](notes, name)


def _reduce_here(notes: Notes, name: str) -> None:
    notes.doing("build")
    module, sizes = Network("torchvision", name).build()
    warm_up()
    notes.doing("capture, couple, shrink")
    seconds: dict[str, float] = {}
    with clock(seconds, "all"):
        program = captured(module, sizes)
        allowed = {"allow": frozenset({"layer_norm"})} if name in INEXACT else {}
        coupling = couple(program, **allowed)
        cuts = aligned(group for group in coupling.free() if kind_of(group) == "channels")
        shrunk = shrink(coupling, cuts)
    before, after = count(coupling), count(coupling, coupling.narrowed(cuts))
    notes.doing(
        "forward",
        seconds=seconds["all"],
        own=[before.macs, after.macs],
        parameters=[before.parameters, after.parameters],
    )
    example = program.example(1)
    notes.doing("oracle", **_answers(module, shrunk.run, example))
    if name in INEXACT:
        notes.done()
    else:
        proven = prove(coupling, cuts)
        notes.done(error=proven.relative_error, refused_groups=proven.refused)


def _reduce_there(notes: Notes, name: str) -> None:
    notes.doing("build")
    module, sizes = Network("torchvision", name).build()
    example = torch.randn(1, *sizes[0])
    counter = torch_pruning().utils.count_ops_and_params
    before, parameters = counter(module, example)
    shape = _shapes(module(example))
    flops = torch_macs(module, example)
    notes.doing("prune")
    seconds: dict[str, float] = {}
    with clock(seconds, "all"):
        pruner(module, example, ignored_layers(module, example), round_to=MULTIPLE).step()
    notes.doing("forward", seconds=seconds["all"])
    same = _shapes(module(example)) == shape
    after, parameters_after = counter(module, example)
    notes.done(
        own=[before, after],
        torchs=[flops, torch_macs(module, example)],
        parameters=[parameters, parameters_after],
        same_shapes=same,
    )


def aligned(groups: Iterable[Group]) -> tuple[Cut, ...]:
    """Half of each group goes, then more until a multiple of eight indices stays, as `round_to=8` does.

    A group that would keep nothing that way (fewer than sixteen indices) stays whole, as there.
    """
    cuts = []
    for group in groups:
        kept = kept_units(group.units, width_of(group))
        if kept:
            spread = tuple(unit * group.units // kept for unit in range(kept))
            cuts.append(Cut(group=group.id, units=group.units, kept=spread))
    return tuple(cuts)


def kept_units(units: int, width: int) -> int:
    """The most units, at most half, that hold a multiple of eight indices; 0 where there is none."""
    return next((kept for kept in range(units // 2, 0, -1) if kept * width % MULTIPLE == 0), 0)


def width_of(group: Group) -> int:
    """Indices of the widest producer that one unit owns."""
    return max(int(piece.indices.shape[1]) for piece in group.of_role("producer"))


def torch_macs(module: nn.Module | Callable[[Tensor], object], example: Tensor) -> int:
    """Multiply-accumulates of one forward pass as torch's own counter sees them."""
    # The fused encoder layer of torch.nn is one operator the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), FlopCounterMode(display=False) as found:
        module(example)
    return int(found.get_total_flops()) // 2


def _answers(module: nn.Module, shrunk: Callable[[Tensor], object], example: Tensor) -> dict[str, object]:
    """Both sides of torch's counter, and whether the shapes stayed."""
    with torch.no_grad():
        same = _shapes(module(example)) == _shapes(shrunk(example))
    return {"torchs": [torch_macs(module, example), torch_macs(shrunk, example)], "same_shapes": same}


def _shapes(output: object) -> list[tuple[int, ...]]:
    return [tuple(one.shape) for one in tree_leaves(output) if isinstance(one, Tensor)]

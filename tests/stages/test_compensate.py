"""The refit restores what the kept channels can say, and is undone where it does not help."""

from __future__ import annotations

import pytest
import torch
from tiny import a_split, tiny
from torch import Tensor, nn
from zoo import IMAGE, SITUATIONS, conv_bn, lived_in

from edgeprune.core.plan import Cut, Plan
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay, shrink


def redundant() -> nn.Module:
    """Channels 4 to 7 of the first layer are multiples of channels 0 to 3, through batch norm and ReLU."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(conv_bn(3, 8), conv_bn(8, 6), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5))
    )
    lived_in(net)
    first, norm = net[0][0], net[0][1]
    with torch.no_grad():
        for tensor in (first.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor[4:] = tensor[:4]
        for tensor in (norm.weight, norm.bias):
            tensor[4:] *= 0.5
    return net.eval()


def without(coupling: Coupling, group: str, *kept: int) -> tuple[Program, Plan]:
    """The program with only these units of one group left."""
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    units = {one.id: one.units for one in coupling.groups}
    cut = Cut(group=group, units=units[group], kept=kept)
    base = plan(coupling, ranks, Budget(parameters=10**9), multiple=1)
    program, done, _ = shrink(coupling, base.model_copy(update={"cuts": (cut,)}))
    return program, done


def halved(situation: str) -> tuple[Coupling, Program, Plan]:
    coupling = couple(tiny(situation))
    ranks = screen(coupling, None, build("criteria", "random"), name="random")
    program, done, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=1.5), multiple=1))
    return coupling, program, done


def inputs(size: tuple[int, ...] = IMAGE) -> Tensor:
    return torch.from_numpy(next(a_split(100, seed=9, size=size).batches(100))[0])


def distance(one: Program, other: Program, size: tuple[int, ...] = IMAGE) -> float:
    """Largest difference over the largest answer, on images the refit has not seen."""
    expected = one.run(inputs(size))
    return float((other.run(inputs(size)) - expected).abs().max() / expected.abs().max())


def test_channels_that_others_can_stand_in_for_are_not_missed() -> None:
    coupling = couple(capture(redundant(), IMAGE))
    program, done = without(coupling, "0.0", 0, 1, 2, 3)
    assert distance(coupling.program, program) > 0.05
    refitted, found = compensate(coupling, program, done, a_split(200), a_split(50, seed=1))
    assert distance(coupling.program, refitted) < 1e-3
    assert found.kept
    assert found.divergence_after < 1e-6 < found.divergence_before


@pytest.mark.parametrize(
    ("situation", "refitted"),
    [("residual_add", 2), ("grouped", 1), ("window_attention", 2), ("residual_option_a", 2)],
)
def test_answers_come_closer_on_images_that_were_not_fitted(situation: str, refitted: int) -> None:
    coupling, program, done = halved(situation)
    size = SITUATIONS[situation].inputs
    before = distance(coupling.program, program, size)
    program, found = compensate(
        coupling, program, done, a_split(300, size=size), a_split(60, seed=1, size=size)
    )
    assert found.kept
    assert found.images == 300
    assert found.refitted >= refitted
    assert found.divergence_after < 0.5 * found.divergence_before
    assert distance(coupling.program, program, size) < before


def test_a_refit_that_does_not_help_is_undone_to_the_last_bit() -> None:
    coupling, program, done = halved("residual_add")
    before = {name: tensor.clone() for name, tensor in program.tensors().items()}
    # Two images far from all others: what fits them is wrong for the images it is judged on.
    same, found = compensate(coupling, program, done, a_split(2, offset=40.0), a_split(60, seed=1))
    assert (found.kept, found.refitted, found.images) == (False, 0, 2)
    assert found.divergence_after >= found.divergence_before
    assert all(torch.equal(tensor, before[name]) for name, tensor in same.tensors().items())


def test_the_original_is_left_as_it_was() -> None:
    coupling, program, done = halved("residual_add")
    before = {name: tensor.clone() for name, tensor in coupling.program.tensors().items()}
    compensate(coupling, program, done, a_split(60), a_split(30, seed=1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in coupling.program.tensors().items())


def test_layers_before_the_first_cut_are_left_alone() -> None:
    coupling, program, done = halved("residual_add")
    assert [cut.group for cut in done.cuts] == ["body.0"]
    stem = program.tensors()["stem.0.weight"].clone()
    program, _ = compensate(coupling, program, done, a_split(100), a_split(50, seed=1))
    assert torch.equal(program.tensors()["stem.0.weight"], stem)


def test_the_seed_decides_which_positions_are_looked_at_and_nothing_else_does() -> None:
    coupling, _, done = halved("residual_add")
    weights = []
    for seed in (0, 0, 1):
        program = replay(coupling, done)
        # 300 images of 256 positions are more rows than are read.
        compensate(coupling, program, done, a_split(300), a_split(50, seed=1), seed=seed)
        weights.append(program.tensors()["last.0.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_without_a_cut_nothing_is_refitted() -> None:
    coupling = couple(tiny())
    _, done, _ = shrink(coupling, without_cuts(coupling))
    program = replay(coupling, done)
    _, found = compensate(coupling, program, done, a_split(60), a_split(30, seed=1))
    assert (found.kept, found.refitted, found.divergence_before) == (False, 0, 0)


def without_cuts(coupling: Coupling) -> Plan:
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    return plan(coupling, ranks, Budget(parameters=10**9), multiple=1)

"""Thinning meets its budget by the criterion's ranks, brings nothing back, and refuses what cannot be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import CLASSES, a_split, once_each, tiny, unlabelled
from torch import Tensor, nn

from edgeprune.core.errors import BudgetError, DocumentError, ModelError, PluginError, RequestError
from edgeprune.core.group import Group
from edgeprune.core.moments import LARGEST
from edgeprune.core.protocols import ConnectionEvidence, Evidence, Need
from edgeprune.core.registry import build, build_from
from edgeprune.core.samples import Split
from edgeprune.core.sparsity import Sparsity
from edgeprune.core.thinning import Pattern, Thinning
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.graph.input import Input
from edgeprune.stages.disconnect import disconnect, nonzeros
from edgeprune.stages.shrink import shrink
from edgeprune.stages.sweep import sweep
from edgeprune.stages.thin import thin


def dense() -> Program:
    """Linear layers 48 > 20 > 12 > 4: 960 + 240 + 48 connections."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, CLASSES)
    )
    return capture(network, [Input((3, 4, 4))])


SIZE = (3, 4, 4)


def thinned(program: Program, wanted: Thinning, criterion: str = "l2", **options: object) -> Sparsity:
    calibration = a_split(80, size=program.input_size) if criterion not in {"l2", "random", "lamp"} else None
    return thin(
        couple(program), calibration, build_from("criteria", criterion), wanted, name=criterion, **options
    )  # type: ignore[arg-type]


def kept(sparsity: Sparsity) -> dict[str, int]:
    return {name: one.kept for name, one in sparsity.connections.items()}


@pytest.mark.parametrize("criterion", ["l2", "random", "lamp", "f", "welch", "wanda", "taylor", "screening"])
def test_every_criterion_of_connections_meets_the_budget_exactly(criterion: str) -> None:
    sparsity = thinned(dense(), Thinning(times=8), criterion)
    assert sparsity.weights == 1248
    assert sparsity.kept == 156
    assert sparsity.criterion == criterion


def test_the_smallest_weights_of_all_layers_go_first() -> None:
    program = dense()
    masks = thinned(program, Thinning(times=1.5)).masks()
    tensors = program.tensors()
    values = {name: np.abs(tensors[name].detach().numpy()) for name in masks}
    largest_gone = max(values[name][~mask].max() for name, mask in masks.items())
    smallest_kept = min(values[name][mask].min() for name, mask in masks.items())
    assert largest_gone <= smallest_kept


def test_every_layer_gives_the_same_share_where_that_is_asked_for() -> None:
    sparsity = thinned(dense(), Thinning(times=4, scope="layer"))
    assert list(kept(sparsity).values()) == [240, 60, 12]


def test_a_layer_is_never_cut_through() -> None:
    program = dense()
    with torch.no_grad():
        program.tensors()["3.weight"].mul_(1e-6)
    sparsity = thinned(program, Thinning(times=20))
    assert min(kept(sparsity).values()) >= 1
    assert sparsity.kept <= 62


def test_connections_that_make_no_difference_are_replaced_by_the_next_best() -> None:
    program = dense()
    with torch.no_grad():
        program.tensors()["5.weight"][:, 6:] = 0  # half of the hidden units are read by nothing
    sparsity = thinned(program, Thinning(times=4))
    masks = sparsity.masks()
    assert not masks["3.weight"][6:].any()
    assert sparsity.kept == 312


def test_rounds_take_much_first_and_little_in_the_end() -> None:
    left = [thinned(dense(), Thinning(times=8), done=done).kept for done in (1 / 3, 2 / 3, 1.0)]
    # 1 - 7/8 (1 - (1 - done)^3) of 1248
    assert left == [479, 196, 156]


def test_what_is_zero_stays_zero() -> None:
    program = dense()
    first = thinned(program, Thinning(times=4), "random")
    thin_program = disconnect(program, first)
    second = thinned(thin_program, Thinning(times=6), "f")
    for name, mask in second.masks().items():
        assert not (mask & ~first.connections[name].array()).any()
    assert second.kept == 208


def test_a_pattern_leaves_n_of_every_m_inputs() -> None:
    program = dense()
    sparsity = thinned(program, Thinning(pattern=Pattern(keep=1, of=4)))
    assert list(kept(sparsity).values()) == [240, 60, 12]
    weight = np.abs(program.tensors()["3.weight"].detach().numpy())
    mask = sparsity.connections["3.weight"].array()
    assert (mask.reshape(12, 5, 4).argmax(2) == weight.reshape(12, 5, 4).argmax(2)).all()


def test_a_pattern_of_a_convolution_runs_along_its_input_channels() -> None:
    sparsity = thinned(tiny(), Thinning(pattern=Pattern(keep=2, of=4)))
    halved = {name: one.array() for name, one in sparsity.connections.items() if one.kept < one.weights}
    assert halved
    for mask in halved.values():
        inputs_last = np.moveaxis(mask, 1, -1)
        assert (inputs_last.reshape(-1, 4).sum(1) == 2).all()


def test_a_layer_whose_inputs_the_pattern_does_not_divide_stays_whole_and_says_so() -> None:
    sparsity = thinned(tiny(), Thinning(pattern=Pattern(keep=2, of=4)))
    first = next(iter(sparsity.connections))
    assert sparsity.whole == {first: "3 inputs, no multiple of 4"}
    assert sparsity.connections[first].kept == sparsity.connections[first].weights


def test_the_weight_of_f_is_chosen_on_images_that_did_not_rank() -> None:
    program = dense()
    options = {"selection": a_split(40, size=SIZE, seed=3)}
    sparsity = thinned(program, Thinning(times=3), "screening", **options)
    assert sparsity.choice is not None
    assert sparsity.choice.images == 40
    harms = {one.options["alpha"]: one.harm for one in sparsity.choice.candidates}
    assert sparsity.options["alpha"] == min(harms, key=lambda alpha: harms[alpha])
    assert len(set(harms.values())) > 1
    told = thinned(program, Thinning(times=3), "screening?alpha=0.3", **options)
    assert told.choice is None
    assert told.options["alpha"] == 0.3


def test_the_same_question_has_the_same_answer() -> None:
    assert thinned(dense(), Thinning(times=8), "screening") == thinned(
        dense(), Thinning(times=8), "screening"
    )


def test_no_more_images_are_looked_at_together_than_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    coupling, asked = couple(dense()), []

    def watched(split: Split) -> Split:
        def read(indices: Sequence[int]) -> NDArray[np.generic]:
            asked.append(len(indices))
            return split.samples.read(indices)

        return replace(split, samples=replace(split.samples, read=read))

    images, other = (watched(a_split(80, size=SIZE, seed=seed)) for seed in (0, 3))
    monkeypatch.setattr("edgeprune.graph.memory._TRANSIENT", 30.5 * count(coupling).peak_activation_bytes)
    screening = build("criteria", "screening")
    thin(coupling, images, screening, Thinning(times=3), name="screening", selection=other)
    assert asked == [30, 30, 20] * 2


def test_zeros_are_where_the_sparsity_says() -> None:
    program = dense()
    sparsity = thinned(program, Thinning(times=8))
    weights, parameters = nonzeros(disconnect(program, sparsity))
    assert weights == kept(sparsity)
    assert parameters == sparsity.kept + 20 + 12 + CLASSES


def test_units_that_nothing_reads_are_swept_away_with_a_proof() -> None:
    program = dense()
    with torch.no_grad():
        program.tensors()["5.weight"][:, 6:] = 0
    thin_program = disconnect(program, thinned(program, Thinning(times=4)))
    coupling = couple(thin_program)
    plan = sweep(coupling, criterion="l2", budget=">= 4x fewer weights")
    assert plan.cuts
    small, done, proof = shrink(coupling, plan)
    assert proof.relative_error < 1e-9
    assert done.after.parameters < done.before.parameters
    images = torch.from_numpy(next(a_split(20, size=SIZE).batches(20))[0])
    assert torch.allclose(small.run(images), thin_program.run(images), atol=1e-5)
    assert sum(nonzeros(small)[0].values()) == sum(nonzeros(thin_program)[0].values())


def test_a_sparsity_of_another_network_is_refused() -> None:
    sparsity = thinned(dense(), Thinning(times=8))
    with pytest.raises(DocumentError, match="this network is"):
        disconnect(tiny(), sparsity)


def test_more_than_there_is_cannot_go() -> None:
    with pytest.raises(BudgetError) as caught:
        thinned(dense(), Thinning(times=1000))
    assert caught.value.message == ">= 1000x fewer weights leaves 1 of 1248 for 3 layers"
    assert caught.value.hint == "with one for each layer it is 416x"


def test_a_pattern_that_fits_no_layer_is_refused() -> None:
    with pytest.raises(BudgetError) as caught:
        thinned(dense(), Thinning(pattern=Pattern(keep=1, of=7)))
    assert caught.value.message.startswith("pattern 1:7 fits no layer: 1.weight has 48 inputs, no")


def test_a_network_without_weights_is_refused() -> None:
    program = capture(nn.Sequential(nn.ReLU(), nn.Flatten()), [Input((3, 2, 2))])
    with pytest.raises(BudgetError, match="no linear layer or convolution with weights of its own"):
        thin(couple(program), None, build("criteria", "l2"), Thinning(times=2), name="l2")


def test_a_criterion_of_whole_units_is_refused_with_those_that_can() -> None:
    with pytest.raises(RequestError) as caught:
        thinned(dense(), Thinning(times=2), "fpgm")
    assert caught.value.message == "criterion 'fpgm' ranks whole units, not connections"
    assert caught.value.hint == "choose one of: f, l1, l2, lamp, random, screening, taylor, wanda, welch"


def test_a_criterion_without_its_evidence_is_refused() -> None:
    coupling, screening = couple(dense()), build("criteria", "screening")
    with pytest.raises(RequestError, match="criterion 'screening' needs images"):
        thin(coupling, None, screening, Thinning(times=2), name="screening")
    bare = unlabelled(a_split(40, size=SIZE))
    with pytest.raises(RequestError, match="compares classes, but the images have no labels"):
        thin(coupling, bare, screening, Thinning(times=2), name="screening")


@pytest.mark.parametrize("criterion", ["f", "welch"])
def test_a_criterion_that_compares_classes_is_refused_where_none_is_shown_twice(criterion: str) -> None:
    few = once_each(a_split(20, size=SIZE))
    with pytest.raises(RequestError) as caught:
        thin(couple(dense()), few, build("criteria", criterion), Thinning(times=2), name=criterion)
    assert caught.value.message == (
        f"criterion '{criterion}' compares classes, but no class has two of the 4 images"
    )
    assert caught.value.hint == "give more with --images, or choose one that compares none: wanda, l2, lamp"


def test_where_no_class_is_shown_twice_screening_goes_by_magnitude() -> None:
    few, coupling = once_each(a_split(20, size=SIZE)), couple(dense())
    by_f = build("criteria", "screening", {"alpha": 1.0})
    by_size = build("criteria", "screening", {"alpha": 0.0})
    found, expected = (
        thin(coupling, few, one, Thinning(times=2), name="screening") for one in (by_f, by_size)
    )
    assert found.connections == expected.connections


@dataclass(frozen=True)
class Broken:
    """Scores that are no numbers."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> NDArray[np.float64]:
        return np.zeros(group.units)

    def score_connections(self, weight: str, evidence: ConnectionEvidence) -> NDArray[np.float64]:
        return evidence.magnitude(weight) * np.nan


def test_scores_that_are_not_finite_are_the_criterions_fault() -> None:
    with pytest.raises(PluginError, match=r"one finite score for each connection of 1\.weight"):
        thin(couple(dense()), None, Broken(), Thinning(times=2), name="broken")


@pytest.mark.parametrize("criterion", ["screening", "f", "welch", "wanda"])
def test_activations_that_are_not_finite_are_refused_with_their_layer(criterion: str) -> None:
    program = dense()
    with torch.no_grad():
        program.tensors()["3.bias"][2] = torch.nan
    with pytest.raises(ModelError) as caught:
        thinned(program, Thinning(times=2), criterion, selection=a_split(40, size=SIZE, seed=3))
    assert re.fullmatch(r"relu \(.+\) answers with NaN or infinity", caught.value.message)
    assert caught.value.hint == "look for weights that are not finite, or for a division by zero in that line"


class Shares(nn.Module):
    """Answers with shares of a sum, which may be zero; its first input is the same for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(49, CLASSES, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        values = images.flatten(1)
        parts = torch.relu(self.head(torch.cat([torch.ones_like(values[:, :1]), values], 1)))
        return parts / parts.sum(1, keepdim=True)


def shares(first: float, others: float) -> Program:
    program = capture(Shares(), [Input(SIZE)])
    with torch.no_grad():
        program.tensors()["head.weight"].fill_(others)[:, 0] = first
    return program


def test_selection_images_that_are_not_answered_with_numbers_are_refused() -> None:
    bright, dark = (a_split(40, size=SIZE, offset=offset) for offset in (9.0, -9.0))
    screening = build("criteria", "screening")
    with pytest.raises(ModelError, match=r"^div \(test_thin\.py:\d+\) answers with NaN or infinity$"):
        thin(couple(shares(0, 1)), bright, screening, Thinning(times=2), name="screening", selection=dark)


def test_zeros_that_leave_no_answer_are_not_chosen() -> None:
    # By F alone the first input goes, which is the same for every image: it keeps the sum above zero.
    images, other = (a_split(40, size=SIZE, seed=seed, offset=9.0) for seed in (0, 3))
    screening = build("criteria", "screening")
    coupling = couple(shares(1, -1e-3))
    sparsity = thin(coupling, images, screening, Thinning(times=2), name="screening", selection=other)
    assert sparsity.choice is not None
    harms = {one.options["alpha"]: one.harm for one in sparsity.choice.candidates}
    assert harms[1.0] == LARGEST
    assert harms[0.0] < 1
    assert sparsity.options["alpha"] != 1.0

"""Which weights connect one input to one output, what images say of them, and which are dead."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from tiny import a_split, tiny
from torch import Tensor, nn
from zoo import SITUATIONS, Net

from edgeprune.core.errors import ModelError
from edgeprune.core.protocols import Need
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.connection_evidence import ConnectionEvidence
from edgeprune.graph.connections import Layer, disconnected, layers
from edgeprune.graph.couple import couple
from edgeprune.graph.dead import dead_cuts, without_dead
from edgeprune.graph.input import Input
from edgeprune.graph.surgery import shrink
from edgeprune.testing import NEEDS

CLASSES = 4


class Chain(nn.Module):
    """A convolution, a grouped one, a flatten, and two linear layers of which one is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.grouped = nn.Conv2d(4, 6, 1, groups=2)
        self.wide = nn.Linear(6 * 4, 8)
        self.again = nn.Linear(8, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.grouped(torch.relu(self.first(images))))
        values = torch.relu(self.wide(maps.flatten(1)))
        values = torch.relu(self.again(torch.relu(self.again(values))))
        return self.head(values)


def chain() -> Program:
    torch.manual_seed(0)
    return capture(Chain(), [Input((3, 4, 4))])


def seen(
    program: Program, *needs: Need, labelled: bool = True
) -> tuple[ConnectionEvidence, Tensor, np.ndarray]:
    """The evidence that 120 images in uneven batches give, and the images."""
    split = a_split(120, size=program.input_size)
    inputs, labels = next(split.batches(120))
    evidence = ConnectionEvidence(program, layers(program), CLASSES, 0, frozenset(needs))
    for start, stop in ((0, 50), (50, 51), (51, 120)):
        evidence.add(torch.from_numpy(inputs[start:stop]), labels[start:stop] if labelled else None)
    assert labels is not None
    return evidence, torch.from_numpy(inputs), labels


def test_every_layer_is_found_once_in_the_order_it_runs() -> None:
    found = layers(chain())
    assert [layer.weight for layer in found] == [
        *("first.weight", "grouped.weight", "wide.weight", "again.weight", "head.weight")
    ]
    assert [len(layer.sources) for layer in found] == [1, 1, 1, 2, 1]
    assert [layer.groups for layer in found] == [1, 2, 1, 1, 1]


def test_a_number_per_input_reaches_the_connections_of_its_group() -> None:
    layer = Layer("w", (6, 2, 1, 1), 2)
    assert layer.spread(np.arange(4.0))[:, :, 0, 0].tolist() == [[0, 1]] * 3 + [[2, 3]] * 3


def test_f_is_that_of_what_the_connection_adds() -> None:
    program = chain()
    evidence, images, labels = seen(program, "moments")
    weight = program.tensors()["first.weight"].detach().double().numpy()
    added = weight[2, 1, 0, 0] * images[:, 1].double().mean((1, 2)).numpy()
    expected = f_oneway(*(added[labels == one] for one in range(CLASSES))).statistic
    found = evidence.f_statistic("first.weight")
    assert found is not None
    assert found.shape == weight.shape
    assert found[2, 1] == pytest.approx(expected, rel=1e-6)
    assert (found[:, 1] == found[2, 1, 0, 0]).all()


def test_activation_is_the_root_mean_square_of_what_is_read() -> None:
    program = chain()
    evidence, images, _ = seen(program, "activations")
    first, bias = (program.tensors()[f"first.{name}"] for name in ("weight", "bias"))
    maps = torch.relu(nn.functional.conv2d(images, first, bias)).double()
    found = evidence.activation("grouped.weight")
    assert found is not None
    expected = maps.square().mean((0, 2, 3)).sqrt().detach().numpy()
    assert found[:3, :, 0, 0] == pytest.approx(np.tile(expected[:2], (3, 1)), rel=1e-6)
    assert found[3:, :, 0, 0] == pytest.approx(np.tile(expected[2:], (3, 1)), rel=1e-6)


def test_f_is_that_of_images_where_rows_lie_place_by_place() -> None:
    program, net = tiny("multihead_attention"), SITUATIONS["multihead_attention"].build()
    evidence, images, labels = seen(program, "moments")
    assert isinstance(net, Net)
    mix = net.get_submodule("mix")
    assert isinstance(mix, nn.MultiheadAttention)
    with torch.no_grad():
        query, key, value = nn.functional.linear(
            net.embed(images), mix.in_proj_weight, mix.in_proj_bias
        ).chunk(3, -1)
        heads = (one.unflatten(-1, (4, 4)).transpose(1, 2) for one in (query, key, value))
        read = nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    means = read.double().mean(1).numpy()
    expected = f_oneway(*(means[labels == one] for one in range(CLASSES))).statistic
    found = evidence.f_statistic("mix.out_proj.weight")
    assert found is not None
    assert found[0] == pytest.approx(expected, rel=1e-4)


class TwoWays(nn.Module):
    """One value that a convolution reads along its first axis and a linear layer along its second."""

    def __init__(self) -> None:
        super().__init__()
        self.along, self.across = nn.Conv1d(6, 5, 1), nn.Linear(8, 5)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, values: Tensor) -> Tensor:
        along, across = self.along(values).mean(2), self.across(values).mean(1)
        result: Tensor = self.head(torch.cat([along, across], 1))
        return result


def test_one_value_that_is_read_along_two_axes_counts_for_both() -> None:
    evidence, images, labels = seen(capture(TwoWays().eval(), [Input((6, 8))]), "moments", "activations")
    for weight, axis in (("along.weight", 1), ("across.weight", 2)):
        channels = images.double().movedim(axis, -1)
        means = channels.mean(1).numpy()
        expected = f_oneway(*(means[labels == one] for one in range(CLASSES))).statistic
        found, activation = evidence.f_statistic(weight), evidence.activation(weight)
        assert found is not None
        assert activation is not None
        assert found[0].ravel() == pytest.approx(expected, rel=1e-4)
        assert activation[0].ravel() == pytest.approx(channels.square().mean((0, 1)).sqrt().numpy(), rel=1e-5)


@pytest.mark.parametrize(("parameter", "layer"), [("grouped.bias", "flatten"), ("head.bias", "linear")])
@pytest.mark.parametrize("need", ["moments", "activations"])
def test_what_is_read_or_answered_must_be_finite(parameter: str, layer: str, need: Need) -> None:
    program = chain()
    with torch.no_grad():
        program.tensors()[parameter][0] = torch.nan
    with pytest.raises(ModelError) as caught:
        seen(program, need)
    assert re.fullmatch(rf"{layer} \(.+\) answers with NaN or infinity", caught.value.message)


def test_saliency_is_the_squared_first_order_term_of_small_batches() -> None:
    program = chain()
    evidence, images, labels = seen(program, "gradients")
    found = evidence.saliency("head.weight")
    assert found is not None
    weight = program.tensors()["head.weight"]
    total = np.zeros(weight.shape)
    for start, stop in (
        (0, 16),
        (16, 32),
        (32, 48),
        (48, 50),
        (50, 51),
        (51, 67),
        (67, 83),
        (83, 99),
        (99, 115),
        (115, 120),
    ):
        loss = nn.functional.cross_entropy(
            program.module(images[start:stop]), torch.from_numpy(labels[start:stop])
        )
        (gradient,) = torch.autograd.grad(loss, [weight])
        total += np.square((weight.detach() * gradient).double().numpy()) * (stop - start)
    assert found == pytest.approx(total / 120, rel=1e-4, abs=1e-12)


def test_what_was_not_asked_for_or_has_no_labels_is_none() -> None:
    nothing, _, _ = seen(chain())
    for found in (nothing.f_statistic, nothing.welch_statistic, nothing.activation, nothing.saliency):
        assert found("head.weight") is None
    bare, _, _ = seen(chain(), *NEEDS, labelled=False)
    assert bare.f_statistic("head.weight") is None
    assert bare.activation("head.weight") is not None


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_only_what_was_asked_for_is_gathered(need: Need) -> None:
    evidence, _, _ = seen(chain(), need)
    known = {
        "moments": evidence.f_statistic("head.weight"),
        "activations": evidence.activation("head.weight"),
        "gradients": evidence.saliency("head.weight"),
    }
    assert {name for name, value in known.items() if value is not None} == {need} & known.keys()


def test_f_is_none_where_no_class_is_shown_twice_and_welchs_where_only_one_is() -> None:
    program = chain()
    inputs = torch.randn(3, *program.input_size)
    for labels, known in (([0, 1, 2], (False, False)), ([0, 1, 1], (True, False))):
        evidence = ConnectionEvidence(program, layers(program), CLASSES, 0, frozenset({"moments"}))
        evidence.add(inputs, np.asarray(labels))
        found = evidence.f_statistic("head.weight"), evidence.welch_statistic("head.weight")
        assert tuple(one is not None for one in found) == known


def test_random_numbers_follow_from_seed_and_name() -> None:
    one, _, _ = seen(chain())
    again, _, _ = seen(chain())
    assert (one.random("head.weight") == again.random("head.weight")).all()
    assert (one.random("again.weight")[:CLASSES] != one.random("head.weight")).all()


def test_only_what_a_mask_leaves_out_becomes_zero_and_only_in_the_copy() -> None:
    program = chain()
    before = {name: tensor.detach().clone() for name, tensor in program.tensors().items()}
    mask = np.random.default_rng(0).random((8, 8)) < 0.5
    made = disconnected(program, {"again.weight": mask}).tensors()
    for name, tensor in program.tensors().items():
        assert (tensor == before[name]).all()
        if name != "again.weight":
            assert (made[name] == before[name]).all()
    assert ((made["again.weight"] != 0).numpy() == mask).all()
    assert (
        made["again.weight"][torch.from_numpy(mask)] == before["again.weight"][torch.from_numpy(mask)]
    ).all()


def all_of(program: Program) -> dict[str, np.ndarray]:
    return {layer.weight: np.ones(layer.shape, dtype=bool) for layer in layers(program)}


def test_a_unit_nothing_reads_loses_what_reaches_it_and_so_on_upwards() -> None:
    masks = all_of(chain())
    masks["head.weight"][:] = True
    masks["wide.weight"][:, :4] = False  # the first channel of the grouped convolution, flattened
    found = without_dead(couple(chain()), masks, constants=False)
    changed = {name for name in masks if (found[name] != masks[name]).any()}
    assert changed <= {"grouped.weight", "first.weight"}


def dense_chain() -> tuple[Program, dict[str, np.ndarray]]:
    """Linear layers 12 > 6 > 5 > 4."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES)
    )
    program = capture(network, [Input((3, 2, 2))])
    return program, all_of(program)


def test_unread_units_go_backwards_through_the_network() -> None:
    program, masks = dense_chain()
    masks["5.weight"][:, 2] = False
    masks["3.weight"][[0, 1, 3, 4], 1] = False  # of unit 1 only the dead unit 2 reads
    found = without_dead(couple(program), masks, constants=False)
    assert not found["3.weight"][2].any()
    assert not found["1.weight"][1].any()
    assert found["1.weight"].sum() == 5 * 12
    assert masks["3.weight"][2].any(), "the argument is left alone"


def test_units_that_carry_a_constant_go_only_where_biases_can_learn_it() -> None:
    program, masks = dense_chain()
    masks["1.weight"][3] = False
    kept = without_dead(couple(program), masks, constants=False)
    assert kept["3.weight"][:, 3].all()
    gone = without_dead(couple(program), masks, constants=True)
    assert not gone["3.weight"][:, 3].any()


def test_units_without_readers_are_cut_and_no_answer_changes() -> None:
    program, masks = dense_chain()
    masks["5.weight"][:, [0, 3]] = False
    thin = disconnected(program, masks)
    coupling = couple(thin)
    cuts = dead_cuts(coupling)
    assert [(cut.group, cut.removed) for cut in cuts] == [("3", (0, 3))]
    small = shrink(coupling, cuts)
    images = torch.randn(7, 3, 2, 2)
    assert torch.allclose(small.run(images), thin.run(images), atol=1e-6)


def test_a_group_without_any_reader_left_stays_whole() -> None:
    program, masks = dense_chain()
    masks["5.weight"][:] = False
    assert dead_cuts(couple(disconnected(program, masks))) == ()


class Summed(nn.Module):
    """Four hidden units that the head reads, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        values = torch.relu(self.body(images))
        return self.head(values) + values.sum(1, keepdim=True)


def test_units_that_something_else_sums_over_are_never_taken_for_dead() -> None:
    program = capture(Summed(), [Input((6,))])
    masks = all_of(program)
    masks["head.weight"][:, 1:] = False
    found = without_dead(couple(program), masks, constants=True)
    assert found["body.weight"].all()
    assert dead_cuts(couple(disconnected(program, masks))) == ()

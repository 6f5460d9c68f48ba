"""What criteria look at: each number is what an explicit computation on the user's module gives."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import f_oneway
from statsmodels.stats.oneway import anova_oneway
from tiny import CLASSES, a_split, coupled, once_each, tiny, tiny_coupling
from torch import Tensor, nn
from zoo import IMAGE, SITUATIONS, Net, pooled

from edgeprune.core.group import Group
from edgeprune.core.protocols import Need
from edgeprune.core.samples import Samples, Split
from edgeprune.graph import saliency
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.graph.replay import observe

IMAGES = 40
EVERYTHING: frozenset[Need] = frozenset(get_args(Need))


def gathered(*needs: Need, coupling: Coupling | None = None, data: Split | None = None) -> GroupEvidence:
    coupling = coupling or tiny_coupling()
    groups = [one for one in coupling.free() if one.kind != "blocks"]
    evidence = GroupEvidence(coupling, groups, CLASSES, 0, frozenset(needs))
    for inputs, labels in (data or a_split(IMAGES)).batches(IMAGES):
        evidence.add(torch.from_numpy(inputs), labels)
    return evidence


def the_group(evidence: GroupEvidence, name: str) -> Group:
    (found,) = [one for one in evidence.groups if one.id == name]
    return found


def the_images() -> tuple[Tensor, Tensor]:
    ((inputs, labels),) = a_split(IMAGES).batches(IMAGES)
    assert labels is not None
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def residual() -> Net:
    net = SITUATIONS["residual_add"].build()
    assert isinstance(net, Net)
    return net


# Weights


def test_weights_of_a_unit_are_those_of_all_layers_that_share_it() -> None:
    evidence, net = gathered(), residual()
    stem = the_group(evidence, "stem.0")
    first, second = evidence.weights(stem, ("producer",))
    np.testing.assert_allclose(first[:, 0], net.get_parameter("stem.0.weight").detach().flatten(1))
    np.testing.assert_allclose(second[:, 0], net.get_parameter("last.0.weight").detach().flatten(1))
    reader, head = evidence.weights(stem, ("consumer",))
    np.testing.assert_allclose(
        reader[:, 0], net.get_parameter("body.0.weight").detach().transpose(0, 1).flatten(1)
    )
    np.testing.assert_allclose(head[:, 0], net.get_parameter("head.weight").detach().T)
    # Gains and shifts of two batch norms, without their running statistics.
    assert [rows.shape for rows in evidence.weights(stem, ("attached",))] == [(16, 1, 1)] * 4


def test_a_unit_of_several_indices_has_a_row_for_each() -> None:
    evidence = gathered(coupling=coupled("grouped"))
    group = the_group(evidence, "0.0/groups")
    shapes = [rows.shape for rows in evidence.weights(group, ("producer", "consumer"))]
    assert shapes == [(4, 4, 27), (4, 6, 36), (4, 6, 8)]


def test_a_tied_parameter_comes_once() -> None:
    evidence = gathered(coupling=coupled("tied_linear"))
    group = the_group(evidence, "embed")
    names = {piece.tensor for piece in group.slices}
    assert {"first.weight", "second.weight"} <= names
    # The weight and bias of embed, both axes of the shared weight, two biases, the head.
    rows = evidence.weights(group, ("producer", "consumer", "attached"))
    assert [one.shape[2] for one in rows] == [8, 1, 12, 12, 1, 1, 10]


def test_the_norm_of_a_group_takes_in_everything_that_goes_with_a_unit() -> None:
    evidence, net = gathered(), residual()
    made = [net.get_parameter(f"{layer}.0.weight").flatten(1) for layer in ("stem", "last")]
    read = [net.get_parameter("body.0.weight").transpose(0, 1).flatten(1), net.get_parameter("head.weight").T]
    norms = [
        net.get_parameter(f"{layer}.1.{name}")[:, None]
        for layer, name in itertools.product(("stem", "last"), ("weight", "bias"))
    ]
    expected = torch.cat([*made, *read, *norms], 1).double().norm(dim=1)
    found = evidence.group_norm(the_group(evidence, "stem.0"))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-6)


def test_a_unit_whose_weights_are_all_zero_has_no_norm() -> None:
    program = tiny()
    with torch.no_grad():
        for one in program.module.parameters():
            one.zero_()
    evidence = gathered(coupling=couple(program))
    assert not evidence.group_norm(the_group(evidence, "stem.0")).any()


def test_gains_are_the_mean_over_the_batch_norms_of_a_unit() -> None:
    net = SITUATIONS["residual_add"].build()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in ("stem.1.weight", "last.1.weight"):
            net.get_parameter(name).copy_(torch.randn(16, generator=random))
    program = tiny()
    program.module.load_state_dict(net.state_dict(), strict=False)
    evidence = gathered(coupling=couple(program))
    expected = (net.get_parameter("stem.1.weight").abs() + net.get_parameter("last.1.weight").abs()) / 2
    np.testing.assert_allclose(evidence.gains(the_group(evidence, "stem.0")), expected.detach(), rtol=1e-6)


def test_there_are_no_gains_without_batch_norm() -> None:
    evidence = gathered(coupling=coupled("tied_linear"))
    assert evidence.gains(the_group(evidence, "embed")) is None
    assert evidence.gains(the_group(evidence, "stem.0")) is not None


# Statistics


# Averaged as the values are streamed; in double, what averages in single precision leave of F.
@pytest.mark.parametrize(("averaged_in", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-5)])
@pytest.mark.parametrize(("name", "places"), [("stem.0", 2), ("body.0", 1)])
def test_f_is_scipys_on_the_stored_activations(
    name: str, places: int, averaged_in: torch.dtype, tolerance: float
) -> None:
    coupling, (inputs, labels) = tiny_coupling(), the_images()
    evidence = gathered("moments", coupling=coupling)
    stored: list[Tensor] = []
    observe(coupling.program, inputs, evidence._moments[name], lambda _, value: stored.append(value))
    assert len(stored) == places
    means = [value.to(averaged_in).reshape(*value.shape[:2], -1).mean(2) for value in stored]
    expected = np.mean([anova(each, labels) for each in means], axis=0)
    np.testing.assert_allclose(evidence.f_statistic(the_group(evidence, name)), expected, rtol=tolerance)


def anova(values: Tensor, labels: Tensor) -> np.ndarray:
    """scipy's F of each unit across the classes, shape (units,)."""
    found: np.ndarray = f_oneway(*(values[labels == label].double().numpy() for label in labels.unique()))[0]
    return found


def test_moments_of_shards_are_those_of_all_batches() -> None:
    coupling = tiny_coupling()
    batches = list(a_split(IMAGES).batches(16))
    whole, *parts = (empty(coupling) for _ in range(3))
    for place, (inputs, labels) in enumerate(batches):
        for evidence in (whole, parts[place % 2]):
            evidence.add(torch.from_numpy(inputs), labels, place)
    merged = empty(coupling)
    merged.merge([part.shard() for part in parts])
    for group in whole.groups:
        for one, other in zip(merged.moments(group), whole.moments(group), strict=True):
            np.testing.assert_array_equal(one.count, other.count)
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9)
            np.testing.assert_allclose(one.m2, other.m2, rtol=1e-9)
        np.testing.assert_allclose(merged.f_statistic(group), whole.f_statistic(group), rtol=1e-9)


def empty(coupling: Coupling) -> GroupEvidence:
    """Evidence of no image yet."""
    groups = [one for one in coupling.free() if one.kind != "blocks"]
    return GroupEvidence(coupling, groups, CLASSES, 0, frozenset({"moments"}))


def test_welch_is_that_of_statsmodels_on_what_the_readers_read() -> None:
    evidence, net = gathered("moments"), residual()
    inputs, labels = the_images()
    means = net.body(net.stem(inputs)).detach().double().mean((2, 3)).numpy()
    expected = [anova_oneway(unit, labels.numpy(), use_var="unequal").statistic for unit in means.T]
    found = evidence.welch_statistic(the_group(evidence, "body.0"))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


# Gradients


def gate_terms(loss: str) -> np.ndarray:
    """Squared gradients of a gate behind the body, in parts of 16 images, mean over images."""
    net, (inputs, labels) = residual(), the_images()
    total = torch.zeros(12, dtype=torch.float64)
    for start in range(0, IMAGES, 16):
        gate = torch.ones(12, requires_grad=True)
        part = inputs[start : start + 16]
        x = net.stem(part)
        last = net.last(net.body(x) * gate[:, None, None])
        output = net.head(pooled(F.relu(x + last)))
        if loss == "labels":
            value = F.cross_entropy(output, labels[start : start + 16])
        else:
            value = output.square().sum() / 2 / len(part)
        (gradient,) = torch.autograd.grad(value, gate)
        total += gradient.double().square() * len(part)
    return (total / IMAGES).numpy()


def test_saliency_is_the_squared_gradient_of_a_gate_on_what_the_readers_read() -> None:
    evidence = gathered("gradients")
    found = evidence.saliency(the_group(evidence, "body.0"))
    np.testing.assert_allclose(found, gate_terms("labels"), rtol=1e-3)


def test_saliency_without_labels_is_that_of_the_outputs_energy() -> None:
    known = a_split(IMAGES)
    data = Split(Samples(IMAGES, known.samples.read, None, ""), known.indices, known.preprocess)
    evidence = gathered("gradients", data=data)
    found = evidence.saliency(the_group(evidence, "body.0"))
    np.testing.assert_allclose(found, gate_terms("energy"), rtol=1e-3)


@pytest.mark.parametrize("shape", [(6, 1), (6, 4, 2, 2)])
def test_labels_have_no_say_in_the_saliency_of_answers_that_are_no_scores(shape: tuple[int, ...]) -> None:
    output = torch.randn(shape)
    energy = output.square().sum() / 2 / len(output)
    assert torch.allclose(saliency._loss(output, torch.zeros(6, dtype=torch.int64)), energy)


def test_frozen_parameters_have_a_saliency_too() -> None:
    thawed, frozen = gathered("gradients"), gathered("gradients", coupling=couple(tiny("frozen")))
    group = the_group(thawed, "body.0")
    np.testing.assert_array_equal(frozen.saliency(group), thawed.saliency(group))


def test_gathering_gradients_changes_nothing_in_the_program() -> None:
    program = tiny()
    before = {name: tensor.clone() for name, tensor in program.tensors().items()}
    gathered(*EVERYTHING, coupling=couple(program))
    assert all(torch.equal(before[name], tensor) for name, tensor in program.tensors().items())
    assert all(tensor.grad is None for tensor in program.module.parameters())


# Activations


def root_mean_square(value: Tensor) -> Tensor:
    return value.detach().double().square().mean((0, 2, 3)).sqrt()


def test_activation_weights_are_weights_times_the_size_of_what_they_read() -> None:
    evidence, net = gathered("activations"), residual()
    read = root_mean_square(net.body(net.stem(the_images()[0])))
    weight = net.get_parameter("last.0.weight").detach().abs() * read[None, :, None, None]
    (found,) = evidence.activation_weights(the_group(evidence, "body.0")) or ()
    np.testing.assert_allclose(found[:, 0], weight.transpose(0, 1).flatten(1), rtol=1e-5)


def test_every_group_of_a_grouped_convolution_reads_its_own_channels() -> None:
    evidence, net = gathered("activations", coupling=coupled("grouped")), SITUATIONS["grouped"].build()
    read = root_mean_square(net.get_submodule("0")(the_images()[0]))
    weight = net.get_parameter("1.0.weight").detach().double().abs().clone()
    for output in range(24):
        for channel in range(4):
            weight[output, channel] *= read[output // 6 * 4 + channel]
    (found,) = evidence.activation_weights(the_group(evidence, "0.0")) or ()
    np.testing.assert_allclose(found[:, 0], weight.transpose(0, 1).flatten(1), rtol=1e-5)


# What is gathered


def answers(evidence: GroupEvidence) -> dict[Need, object]:
    group = the_group(evidence, "body.0")
    return {
        "moments": evidence.f_statistic(group),
        "gram": evidence.elimination(group),
        "outcomes": evidence._outcomes or None,
        "activations": evidence.activation_weights(group),
        "gradients": evidence.saliency(group),
    }


@pytest.mark.parametrize("need", get_args(Need))
def test_only_what_is_needed_is_gathered(need: Need) -> None:
    assert {name for name, value in answers(gathered(need)).items() if value is not None} == {need}


def test_evidence_is_the_same_whatever_else_is_gathered() -> None:
    together = answers(gathered(*EVERYTHING))
    del together["outcomes"]  # what is made of them is compared below
    for need, value in together.items():
        np.testing.assert_array_equal(np.asarray(answers(gathered(need))[need]), np.asarray(value))


def test_harms_of_sets_are_those_of_the_curve() -> None:
    evidence = gathered("gram")
    group = the_group(evidence, "stem.0")
    order = np.random.default_rng(0).permutation(16).tolist()
    curve = evidence.harm(group, np.zeros(16), order)
    found = evidence.harms(group, [order[:count] for count in range(16)])
    np.testing.assert_allclose(found, curve, rtol=1e-8, atol=1e-12)


def test_there_are_no_harms_where_nothing_reads_linearly() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, dilation=2))
    evidence = gathered("gram", coupling=couple(capture(net.eval(), IMAGE)))
    assert evidence.harms(the_group(evidence, "0"), [[0], [1]]) is None


# Separation: errors that move what tells the classes apart


def test_outcomes_are_the_moments_of_what_readers_answer() -> None:
    evidence = gathered("gram", "outcomes")
    inputs, labels = the_images()
    net = residual()
    found = {node.name: moments for node, moments in evidence._outcomes.items()}
    answer = net(inputs).detach().double()
    assert found, "the head's answers are among them"
    head = next(one for one in found.values() if one.mean.shape == (CLASSES, answer.shape[1]))
    for label in range(CLASSES):
        np.testing.assert_allclose(head.mean[label], answer[labels == label].mean(0), rtol=1e-4, atol=1e-5)


def test_where_no_class_is_shown_twice_all_errors_count_alike() -> None:
    evidence = gathered("gram", "outcomes", data=once_each(a_split(IMAGES)))
    group = the_group(evidence, "body.0")
    np.testing.assert_array_equal(
        np.asarray(evidence.elimination(group, 1.0)), np.asarray(evidence.elimination(group))
    )


def test_discriminants_are_fishers_and_as_long_as_all_outputs() -> None:
    evidence = gathered("gram", "outcomes")
    group = the_group(evidence, "body.0")
    (reading,) = evidence.readings(group)
    moments = evidence._outcomes[reading[0].receiver]
    rows = evidence._discriminants(reading[0])
    assert rows.shape == (CLASSES, 1, moments.mean.shape[1])
    assert float(rows.square().sum()) == pytest.approx(moments.mean.shape[1])
    share = moments.count / moments.count.sum()
    within = moments.m2.sum(0) / moments.count.sum()
    expected = share[:, None] ** 0.5 * (moments.mean - share @ moments.mean) / within
    ratio = rows[:, 0].numpy() / expected
    np.testing.assert_allclose(ratio, ratio[0, 0])


def test_a_unit_that_moves_no_class_costs_nothing_where_only_classes_count() -> None:
    """Two units of a linear layer: one is read by what tells the classes apart, one by what does not."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    for layer, weight in ((net[0], torch.eye(2)), (net[2], torch.diag(torch.tensor([1.0, 3.0])))):
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.zero_()
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    values = random.uniform(0.5, 1.5, (400, 2)).astype(np.float32)
    values[:, 0] += labels  # only the first tells the classes apart; the second is read three times as much
    coupling = couple(capture(net.eval(), (2,)))
    (group,) = (one for one in coupling.free() if one.units == 2)
    found = {}
    for separation in (0.0, 1.0):
        evidence = GroupEvidence(coupling, [group], 2, 0, frozenset({"gram", "outcomes"}))
        evidence.add(torch.from_numpy(values), labels)
        scores = evidence.elimination(group, separation)
        assert scores is not None
        found[separation] = int(scores.argmin())
    assert found == {0.0: 0, 1.0: 1}


def test_outcomes_of_shards_are_those_of_all_images() -> None:
    whole = gathered("gram", "outcomes")
    inputs, labels = (one.numpy() for one in the_images())
    parts = [gathered("gram", "outcomes", data=a_split(1)) for _ in range(2)]
    for part, places in zip(parts, np.split(np.arange(IMAGES), 2), strict=True):
        part._outcomes.clear()
        part.add(torch.from_numpy(inputs[places]), labels[places])
    merged = gathered("gram", "outcomes", data=a_split(1))
    merged.merge([part.shard() for part in parts])
    for node, moments in whole._outcomes.items():
        np.testing.assert_allclose(merged._outcomes[node].mean, moments.mean, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(merged._outcomes[node].m2, moments.m2, rtol=1e-4, atol=1e-7)


def test_without_labels_all_errors_count_alike() -> None:
    bare = a_split(IMAGES)
    coupling = tiny_coupling()
    groups = [one for one in coupling.free() if one.kind != "blocks"]
    evidence = GroupEvidence(coupling, groups, 0, 0, frozenset({"gram", "outcomes"}))
    evidence.add(torch.from_numpy(next(bare.batches(IMAGES))[0]), None)
    group = the_group(evidence, "body.0")
    np.testing.assert_allclose(evidence.elimination(group, 0.5), evidence.elimination(group))  # type: ignore[arg-type]


class Biased(nn.Module):
    """A layer's bias comes from a small network over positions, the same for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.linspace(-1, 1, 12).reshape(6, 2))
        self.bias = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.head(F.relu(self.body(values) + self.bias(self.places).flatten()))
        return result


def test_answers_that_are_no_images_are_left_out_of_the_outcomes() -> None:
    torch.manual_seed(0)
    coupling = couple(capture(Biased().eval(), (6,)))
    evidence = GroupEvidence(coupling, coupling.free(), CLASSES, 0, frozenset({"gram", "outcomes"}))
    evidence.add(torch.randn(IMAGES, 6), np.arange(IMAGES) % CLASSES)
    groups = {group.id: evidence.elimination(group, 0.5) for group in evidence.groups}
    assert {"bias.0", "body"} <= groups.keys()
    np.testing.assert_array_equal(
        np.asarray(groups["bias.0"]), np.asarray(evidence.elimination(the_group(evidence, "bias.0")))
    )
    assert not np.allclose(
        np.asarray(groups["body"]), np.asarray(evidence.elimination(the_group(evidence, "body")))
    )


def test_errors_of_two_kinds_add_up() -> None:
    """The root of the metric, against the squared errors it stands for."""
    evidence = gathered("gram", "outcomes")
    ((one, _, _),) = evidence.readings(the_group(evidence, "body.0"))
    apart, root = evidence._discriminants(one), evidence._metric(one, 0.3)
    error = torch.randn(5, root.shape[1], dtype=root.dtype)
    expected = 0.7 * error.square().sum(1) + 0.3 * torch.einsum("no,co->nc", error, apart[:, 0]).square().sum(
        1
    )
    np.testing.assert_allclose((error @ root[0]).square().sum(1), expected, rtol=1e-9)

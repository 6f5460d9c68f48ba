"""Screening ranks units by what the images show; its statistics are scipy's, its harm only grows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from statsmodels.stats.multitest import multipletests
from tiny import CLASSES, a_split, once_each, tiny, tiny_coupling, unlabelled
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import IMAGE, SITUATIONS, Net

from edgeprune.core.errors import ModelError, PluginError, RequestError
from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need
from edgeprune.core.registry import build, build_from, names
from edgeprune.core.sample_size import required_images
from edgeprune.core.samples import Samples, Split
from edgeprune.core.screening import GroupScreening, Screening
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import Coupling, couple
from edgeprune.plugins.criteria.screening import Screening as Weighted
from edgeprune.stages.screen import screen
from edgeprune.testing import Floats

IMAGES = 150
DATA_FREE = ("l2", "l1", "group-l2", "bn-scale", "fpgm", "lamp", "random")


def screened(
    criterion: str,
    coupling: Coupling | None = None,
    data: Split | None = None,
    *,
    selection: Split | None = None,
    also: Iterable[Need] = ("gram",),
    seed: int = 0,
) -> Screening:
    return screen(
        coupling or tiny_coupling(),
        data,
        build_from("criteria", criterion),
        name=criterion,
        classes=CLASSES,
        seed=seed,
        selection=selection,
        also=also,
    )


def everything(split: Split) -> tuple[Tensor, np.ndarray]:
    ((inputs, labels),) = split.batches(len(split))
    assert labels is not None
    return torch.from_numpy(inputs), labels


def anova(values: Tensor, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scipy's F and p of the mean of each channel (the second axis) over the others."""
    means = (
        values.detach().double().flatten(2).mean(2).numpy() if values.ndim > 2 else values.detach().numpy()
    )
    result = f_oneway(*(means[labels == label] for label in np.unique(labels)))
    return result.statistic, result.pvalue


def shuffled(split: Split) -> Split:
    """The same images with labels that tell nothing."""
    labels = np.random.default_rng(1).permutation(split.samples.labels)
    return Split(Samples(IMAGES, split.samples.read, labels, "mixed"), split.indices, split.preprocess)


def test_f_is_scipys_on_the_values_that_the_group_is_read_in() -> None:
    data = a_split(IMAGES)
    found = screened("screening", data=data).groups
    net, (inputs, labels) = SITUATIONS["residual_add"].build(), everything(data)
    assert isinstance(net, Net)
    stem = net.stem(inputs)
    body = net.body(stem)
    pooled = F.relu(stem + net.last(body)).mean((2, 3))
    one, p_one = anova(body, labels)
    np.testing.assert_allclose(found["body.0"].f_statistic, one, rtol=1e-4)
    np.testing.assert_allclose(found["body.0"].p_value, p_one, rtol=1e-3)
    # The residual stream is read twice: by the body, and by the head behind the sum.
    (first, p_first), (second, p_second) = anova(stem, labels), anova(pooled, labels)
    np.testing.assert_allclose(found["stem.0"].f_statistic, (first + second) / 2, rtol=1e-4)
    corrected = np.minimum(1, 2 * np.minimum(p_first, p_second))
    np.testing.assert_allclose(found["stem.0"].p_value, corrected, rtol=1e-3)


def test_a_p_value_that_is_corrected_for_two_readings_stays_a_probability() -> None:
    found = screened("f", data=shuffled(a_split(IMAGES))).groups["stem.0"]
    assert found.p_value is not None
    assert max(found.p_value) == 1


def test_f_is_scipys_where_a_grouped_convolution_reads_each_unit_in_several_places() -> None:
    data = a_split(IMAGES)
    coupling = couple(tiny("grouped"))
    net, (inputs, labels) = SITUATIONS["grouped"].build(), everything(data)
    values = net.get_submodule("0")(inputs)
    (group,) = [one for one in coupling.free() if one.id == "0.0"]
    (piece,) = [one for one in group.slices if one.tensor == "0.0.weight"]
    assert piece.indices.shape == (4, 4)
    units = values.flatten(2).mean(2)[:, torch.from_numpy(piece.indices)].mean(2)
    found = screened("screening", coupling, data).groups["0.0"]
    np.testing.assert_allclose(found.f_statistic, anova(units, labels)[0], rtol=1e-4)


def test_windows_of_one_image_count_as_one_image() -> None:
    data = a_split(IMAGES, size=SITUATIONS["window_attention"].inputs)
    coupling = couple(tiny("window_attention"))
    net, (inputs, labels) = SITUATIONS["window_attention"].build(), everything(data)
    assert isinstance(net, Net)
    # The stem is read twice, in windows by the attention and then as the stream: its mean is the first.
    found = screened("screening", coupling, data).groups["qkv/width#2"]
    windows = net.stem(inputs).permute(0, 2, 3, 1).view(-1, 2, 4, 2, 4, 12).permute(0, 1, 3, 2, 4, 5)
    query, key, value = net.qkv(windows.reshape(-1, 16, 12)).chunk(3, -1)
    read = (query @ key.transpose(1, 2) + net.bias).softmax(-1) @ value
    per_image = read.reshape(len(inputs), -1, 8).mean(1)
    np.testing.assert_allclose(found.f_statistic, anova(per_image, labels)[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("criterion", "images"),
    [(name, 60) for name in names("criteria")] + [(name, 0) for name in DATA_FREE],
)
def test_every_unit_has_a_place_and_harm_grows_from_zero(criterion: str, images: int) -> None:
    result = screened(criterion, data=a_split(images) if images else None)
    assert (result.criterion, result.images) == (criterion, images)
    assert {name: len(one.scores) for name, one in result.groups.items()} == {"stem.0": 16, "body.0": 12}
    for one in result.groups.values():
        assert sorted(one.order) == list(range(len(one.scores)))
        assert [one.scores[unit] for unit in one.order] == sorted(one.scores)
        assert len(one.harm) == len(one.magnitude) == len(one.scores)
        assert one.harm[0] == 0
        assert (np.diff(one.harm) >= 0).all()


def test_without_data_nothing_is_said_about_classes_and_harm_is_the_share_of_squared_scores() -> None:
    one = screened("l2").groups["body.0"]
    assert (one.f_statistic, one.p_value, one.significant) == (None, None, None)
    weight = SITUATIONS["residual_add"].build().get_parameter("body.0.weight").detach()
    np.testing.assert_allclose(one.scores, weight.flatten(1).norm(dim=1).numpy(), rtol=1e-6)
    squares = np.sort(np.square(one.scores))
    np.testing.assert_allclose(one.harm, [0, *(np.cumsum(squares)[:-1] / squares.sum())], rtol=1e-6)


def test_refit_harm_is_a_share_of_the_readers_variance() -> None:
    one = screened("refit", data=a_split(IMAGES)).groups["body.0"]
    assert 0 < one.harm[-1] < 1.5


def test_greedy_elimination_is_no_worse_than_cutting_by_magnitude() -> None:
    greedy = screened("refit", data=a_split(IMAGES)).groups["body.0"].harm
    by_size = screened("l2", data=a_split(IMAGES)).groups["body.0"].harm
    assert sum(greedy) <= sum(by_size)


def test_discoveries_are_counted_at_a_false_discovery_rate_of_five_percent() -> None:
    one = screened("l2", data=a_split(IMAGES), also=("moments",)).groups["stem.0"]
    assert one.significant == multipletests(one.p_value, alpha=0.05, method="fdr_bh")[0].sum()
    assert one.significant is not None
    assert one.significant > 8
    assert screened("f", data=shuffled(a_split(IMAGES))).groups["stem.0"].significant == 0


@pytest.mark.parametrize("criterion", [name for name in names("criteria") if name not in DATA_FREE])
def test_a_criterion_that_needs_data_says_so_without(criterion: str) -> None:
    labelled = criterion in {"screening", "f", "welch"}
    with pytest.raises(RequestError) as caught:
        screened(criterion)
    assert caught.value.message == f"criterion '{criterion}' needs {'labelled ' if labelled else ''}images"
    assert caught.value.hint == f"give --data, or choose a data-free criterion: {', '.join(DATA_FREE)}"


@pytest.mark.parametrize("criterion", ["screening", "f", "welch"])
def test_a_criterion_that_compares_classes_says_so_without_labels(criterion: str) -> None:
    with pytest.raises(RequestError) as caught:
        screened(criterion, data=unlabelled(a_split(20)))
    assert caught.value.message == f"criterion '{criterion}' compares classes, but the images have no labels"
    assert caught.value.hint == "choose one that needs none: refit, taylor, wanda, l2"


@pytest.mark.parametrize("criterion", ["refit", "taylor", "wanda", "l2"])
def test_the_others_screen_images_without_labels(criterion: str) -> None:
    for one in screened(criterion, data=unlabelled(a_split(40))).groups.values():
        assert one.f_statistic is None
        assert one.harm[-1] > 0


@pytest.mark.parametrize("criterion", ["refit", "taylor", "wanda", "l2"])
def test_a_run_does_not_pay_for_statistics_that_its_criterion_does_not_need(criterion: str) -> None:
    data = a_split(40)
    assert screened(criterion, data=data).groups["stem.0"].f_statistic is None
    assert screened(criterion, data=data, also=get_args(Need)).groups["stem.0"].f_statistic is not None


def test_f_has_a_weight_only_where_that_loses_less_by_more_than_chance() -> None:
    found = screened("screening", data=a_split(IMAGES), selection=a_split(80, seed=1))
    assert found.choice is not None
    assert found.choice.images == 80
    first, *others = found.choice.candidates
    assert [one.options["alpha"] for one in found.choice.candidates] == [0, 0.1, 0.3, 0.5, 0.7, 1]
    assert first.p_value is None
    assert all(one.p_value is None or one.p_value > 0.05 for one in others)
    assert found.options == {"alpha": 0, "norm": "minmax"}
    assert screened("screening?alpha=0", data=a_split(IMAGES)).groups == found.groups


@pytest.mark.parametrize("better", [0.3, 0.7])
def test_the_weight_of_f_that_loses_less_is_taken(better: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def harms_of(candidates: Sequence[Weighted], groups: Sequence[Group], *_: object) -> Floats:
        lost = [[0.1 if one.alpha == better else 0.2 + 0.01 * n for n in range(6)] for one in candidates]
        return np.array(lost)

    monkeypatch.setattr("edgeprune.stages.screen.harms_of", harms_of)
    found = screened("screening", data=a_split(IMAGES), selection=a_split(80, seed=1))
    assert found.options["alpha"] == better


def test_without_other_images_the_choice_says_that_it_had_none() -> None:
    choice = screened("screening", data=a_split(60)).choice
    assert choice is not None
    assert choice.images == 0


@pytest.mark.parametrize("criterion", ["screening?alpha=0.3", "l2"])
def test_where_nothing_is_open_nothing_is_chosen(criterion: str) -> None:
    found = screened(criterion, data=a_split(60), selection=a_split(40, seed=1))
    assert found.choice is None
    assert found.options == build_from("criteria", criterion).__dict__


def test_where_no_layer_reads_linearly_the_weight_stays_open() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, dilation=2))
    found = screened("screening", couple(capture(net.eval(), IMAGE)), a_split(40))
    assert (found.choice, found.options["alpha"]) == (None, None)


class Faulty:
    """Gives what it is told, whatever the group."""

    needs: frozenset[Need] = frozenset()

    def __init__(self, *scores: float) -> None:
        self.scores = np.array(scores)

    def score(self, group: Group, evidence: Evidence) -> np.ndarray:
        return self.scores


@pytest.mark.parametrize("scores", [(1.0, 2.0), (*range(15), float("nan"))])
def test_scores_that_rank_nothing_are_refused(scores: tuple[float, ...]) -> None:
    with pytest.raises(PluginError) as caught:
        screen(tiny_coupling(), None, Faulty(*scores), name="faulty")
    assert caught.value.message == (
        "criterion 'faulty' does not give one finite score for each of 16 units of group 'stem.0'"
    )


def test_random_follows_the_seed_and_differs_between_groups() -> None:
    first, again, other = screened("random"), screened("random"), screened("random", seed=1)
    assert first == again
    assert first != other
    assert first.groups["stem.0"].scores[:12] != first.groups["body.0"].scores


def test_screening_again_gives_the_same_document() -> None:
    assert screened("screening", data=a_split(60)) == screened("screening", data=a_split(60))


@pytest.mark.parametrize("situation", ["grouped_residual", "scaled_dot_product", "tied_linear", "conv3d"])
def test_groups_that_no_plain_layer_reads_are_ranked_too(situation: str) -> None:
    coupling = couple(tiny(situation))
    data = a_split(40, size=SITUATIONS[situation].inputs)
    result = screened("screening", coupling, data)
    # Dimensions of query and key are read by each other only: no harm can be told.
    assert {group.id for group in coupling.free()} - set(result.groups) <= {"query/width"}
    assert {group.id for group in coupling.free() if group.of_role("consumer")} <= set(result.groups)


# Classes, effects, stability


def labelled(
    name: str = "stem.0", images: int = IMAGES, also: tuple[Need, ...] = ("moments", "gram")
) -> GroupScreening:
    ranking = build("criteria", "screening", {"alpha": 0.3})
    found = screen(tiny_coupling(), a_split(images), ranking, name="screening", also=also)
    return found.groups[name]


def test_a_unit_serves_the_class_with_its_largest_contrast() -> None:
    one, (inputs, labels) = labelled("body.0"), everything(a_split(IMAGES))
    net = SITUATIONS["residual_add"].build()
    assert isinstance(net, Net)
    values = net.body(net.stem(inputs)).mean((2, 3)).detach().double().numpy()
    within = sum(((values[labels == each] - values[labels == each].mean(0)) ** 2).sum(0) for each in range(4))
    deviation = np.sqrt(within / (IMAGES - 4))
    contrasts = np.stack(
        [(values[labels == each].mean(0) - values[labels != each].mean(0)) / deviation for each in range(4)]
    )
    assert one.classes is not None
    assert list(one.classes.serves) == contrasts.argmax(0).tolist()
    np.testing.assert_allclose(one.classes.contrast, contrasts.max(0), rtol=1e-3)
    lowest = list(one.order[:6])
    share = (contrasts[:, lowest] ** 2).sum(1) / (contrasts**2).sum(1)
    np.testing.assert_allclose(one.classes.lost, share, rtol=1e-3)


def test_effects_and_the_images_they_need() -> None:
    one = labelled()
    assert one.omega_squared is not None
    assert one.welch_f is not None
    assert one.required_images == required_images(float(np.median(one.omega_squared)), 4)
    assert len(one.welch_f) == len(one.omega_squared) == 16
    assert np.corrcoef(one.welch_f, one.f_statistic)[0, 1] > 0.8


def test_a_ranking_is_steadier_with_more_images() -> None:
    few, many = labelled(images=24).stability, labelled(images=400).stability
    assert few is not None
    assert many is not None
    assert few.images.mean < many.images.mean
    for one in (few, many):
        assert one.images.interval[0] <= one.images.mean <= one.images.interval[1] <= 1
        assert one.classes is not None
        assert sum(one.lowest_half) == pytest.approx(8)


def test_without_second_moments_the_class_statistics_are_the_same_and_no_harm_is_measured() -> None:
    bare, whole = labelled(also=("moments",)), labelled()
    assert bare.model_copy(update={"harm": whole.harm, "measured": whole.measured}) == whole
    assert bare.harm != whole.harm
    assert (bare.measured, [*whole.measured]) == ({}, [4, 8, 12, 14])


@pytest.mark.parametrize("criterion", ["refit", "l2", "random"])
def test_images_without_labels_rank_units_and_tell_nothing_of_classes(criterion: str) -> None:
    found = screened(criterion, data=unlabelled(a_split(60)))
    assert (found.images, found.classes) == (60, 0)
    for one in found.groups.values():
        assert (one.f_statistic, one.significant, one.stability, one.classes) == (None, None, None, None)
        assert len(one.order) == len(one.scores)


def test_a_class_with_one_image_and_a_unit_that_never_fires_are_screened_like_the_rest() -> None:
    program = tiny()
    with torch.no_grad():
        dict(program.module.named_parameters())["body.1.weight"][3] = 0
        dict(program.module.named_parameters())["body.1.bias"][3] = -1
    real = a_split(60)
    labels = np.where(np.arange(60) == 0, 3, real.samples.labels % 3)
    data = Split(Samples(60, real.samples.read, labels, "one of class 3"), real.indices, real.preprocess)
    one = screened("screening", couple(program), data).groups["body.0"]
    assert one.f_statistic is not None
    assert one.p_value is not None
    assert one.omega_squared is not None
    assert one.classes is not None
    assert (one.f_statistic[3], one.p_value[3], one.omega_squared[3], one.classes.contrast[3]) == (0, 1, 0, 0)
    assert np.isfinite([*one.f_statistic, *one.welch_f, *one.classes.lost]).all()


@pytest.mark.parametrize("criterion", ["f", "welch", "refit?separation=0.5"])
def test_a_criterion_that_compares_classes_says_so_where_none_is_shown_twice(criterion: str) -> None:
    with pytest.raises(RequestError) as caught:
        screened(criterion, data=once_each(a_split(20)))
    assert caught.value.message == (
        f"criterion '{criterion}' compares classes, but no class has two of the 4 images"
    )
    assert caught.value.hint == (
        "give more with --images, or choose one that compares none: refit, taylor, wanda, l2"
    )


def test_where_no_class_is_shown_twice_magnitude_ranks_and_no_statistic_is_made_up() -> None:
    found = screened("screening?alpha=0.3", data=once_each(a_split(20)), selection=a_split(80, seed=1))
    assert found.incomparable == "no class has two of the 4 images"
    by_size = screened("screening?alpha=0", data=a_split(IMAGES))
    for name, one in found.groups.items():
        assert one.order == by_size.groups[name].order
        assert (one.f_statistic, one.p_value, one.significant, one.classes) == (None, None, None, None)


def test_without_a_class_twice_among_the_other_images_f_gets_no_weight() -> None:
    found = screened("screening", data=a_split(IMAGES), selection=once_each(a_split(20, seed=1)))
    assert found.incomparable is None
    assert found.choice is not None
    assert found.choice.incomparable == "no class has two of the 4 images"
    assert found.options["alpha"] == 0
    assert len({one.harm for one in found.choice.candidates}) == 1


def test_welchs_f_is_left_out_where_only_one_class_shows_its_variance() -> None:
    split = a_split(20)
    labels = split.labels
    assert labels is not None
    twice = np.flatnonzero(labels == 2)[:2]
    data = split.at(np.concatenate([np.flatnonzero(labels == 0)[:1], twice]))
    found = screened("l2", data=data, also=("moments",))
    assert found.incomparable is None
    assert found.groups["stem.0"].f_statistic is not None
    assert found.groups["stem.0"].welch_f is None
    with pytest.raises(RequestError, match="'welch' compares classes, but only one class has two of the 3"):
        screened("welch", data=data)


@pytest.mark.parametrize("labels", [True, False])
def test_activations_that_are_not_finite_are_refused_with_their_layer(labels: bool) -> None:
    program = tiny()
    with torch.no_grad():
        dict(program.module.named_parameters())["body.1.bias"][3] = torch.nan
    data = a_split(20) if labels else unlabelled(a_split(20))
    with pytest.raises(ModelError) as caught:
        screened("screening" if labels else "l2", couple(program), data)
    assert re.fullmatch(
        r"batch_norm \(body\.1, zoo\.py:\d+\) answers with NaN or infinity", caught.value.message
    )
    assert caught.value.hint == "look for weights that are not finite, or for a division by zero in that line"

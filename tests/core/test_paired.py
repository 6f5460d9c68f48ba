"""Claims about a drop hold as often as they say, and need the discordant counts only."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from edgeprune.core.paired import confidence_of_drop, drop_interval, images_to_show, mcnemar_p_value


@pytest.mark.parametrize(("lost", "gained"), [(7, 3), (3, 7), (20, 2), (5, 5), (1, 0)])
def test_mcnemars_exact_test_is_the_sign_test_on_the_discordant_images(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained, 0.5).pvalue
    assert mcnemar_p_value(lost, gained) == pytest.approx(expected, rel=1e-12)
    assert mcnemar_p_value(lost, gained) == mcnemar_p_value(gained, lost)


def test_without_discordant_images_nothing_differs() -> None:
    assert mcnemar_p_value(0, 0) == 1
    assert confidence_of_drop(0, 0, 100, at_most=0) == 0.5


@pytest.mark.parametrize(("lost", "gained", "images"), [(7, 3, 100), (1, 0, 44), (0, 4, 60), (30, 20, 1_000)])
@pytest.mark.parametrize("side", [0, 1])
def test_the_limits_are_where_the_score_test_just_rejects(
    lost: int, gained: int, images: int, side: int
) -> None:
    drop = drop_interval(lost, gained, images)[side] / 100

    def log_likelihood(share: float) -> float:
        """Of `share` gained images, when the true drop is the limit."""
        terms = (xlogy(lost, share + drop), xlogy(gained, share))
        return float(sum(terms) + xlogy(images - lost - gained, 1 - 2 * share - drop))

    # The restricted share is found by search here, in closed form there.
    found = minimize_scalar(
        lambda share: -log_likelihood(share),
        bounds=(max(0, -drop) + 1e-12, (1 - drop) / 2 - 1e-12),
        method="bounded",
        options={"xatol": 1e-12},
    ).x
    deviation = np.sqrt((2 * found + drop - drop**2) / images)
    assert abs((lost - gained) / images - drop) / deviation == pytest.approx(1.959964, rel=1e-3)


@pytest.mark.parametrize("images", [50, 2_000])
def test_with_nothing_discordant_the_limit_is_wilsons_for_no_event(images: int) -> None:
    _, wilson = proportion_confint(0, images, method="wilson")
    low, high = drop_interval(0, 0, images)
    assert (-low, high) == pytest.approx((100 * wilson, 100 * wilson), rel=1e-6)


@pytest.mark.parametrize(("lost", "gained", "images"), [(30, 20, 1_000), (3, 0, 60), (0, 9, 500)])
def test_the_confidence_is_the_level_of_the_limit_it_is_asked_for(
    lost: int, gained: int, images: int
) -> None:
    low, high = drop_interval(lost, gained, images, level=0.90)
    assert low < 100 * (lost - gained) / images < high
    assert confidence_of_drop(lost, gained, images, at_most=high) == pytest.approx(0.95, abs=1e-6)
    assert confidence_of_drop(lost, gained, images, at_most=low) == pytest.approx(0.05, abs=1e-6)


def test_a_wider_bound_is_surer_and_everything_is_surely_below_a_hundred_points() -> None:
    sure = [confidence_of_drop(30, 20, 1_000, at_most=points) for points in (-100, 0, 1, 2, 5, 99, 100)]
    assert sure == sorted(sure)
    assert (sure[0], sure[2], sure[-1]) == (0, pytest.approx(0.5), 1)


def test_all_images_lost_or_gained_stay_within_a_hundred_points() -> None:
    assert drop_interval(20, 0, 20)[1] == pytest.approx(100)
    assert drop_interval(0, 20, 20)[0] == pytest.approx(-100)


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(2_000, 0.02, 0.01), (500, 0.03, 0.03), (500, 0.02, 0.004), (10_000, 0.006, 0.005)],
)
def test_five_in_a_hundred_claims_at_95_percent_are_wrong_and_no_more(
    images: int, lost: float, gained: float
) -> None:
    truth = 100 * (lost - gained)
    random = np.random.default_rng(4)
    drawn = random.multinomial(images, [lost, gained, 1 - lost - gained], size=20_000)

    @cache
    def is_wrong(lost: int, gained: int) -> bool:
        """Whether the drop would be claimed to lie below the true one."""
        return confidence_of_drop(lost, gained, images, at_most=truth - 1e-9) >= 0.95

    wrong = np.mean([is_wrong(int(one), int(other)) for one, other, _ in drawn])
    assert 0.03 <= wrong <= 0.06


@pytest.mark.parametrize("counts", [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_no_table_has_are_our_own_mistake(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="is no table of paired answers"):
        confidence_of_drop(*counts, at_most=1.0)
    with pytest.raises(ValueError, match="is no table of paired answers"):
        drop_interval(*counts)


@pytest.mark.parametrize(("at_most", "confidence"), [(1.0, 0.95), (0.5, 0.95), (5.0, 0.99), (20.0, 0.6)])
def test_fewer_images_than_it_takes_show_a_bound_under_no_circumstances(
    at_most: float, confidence: float
) -> None:
    needed = images_to_show(at_most, confidence)
    assert confidence_of_drop(0, 0, needed, at_most=at_most) >= confidence
    if needed > 1:
        assert confidence_of_drop(0, 0, needed - 1, at_most=at_most) < confidence

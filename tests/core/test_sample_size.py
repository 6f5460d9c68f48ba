"""The images that are asked for give the power that is asked for, and no fewer would."""

from __future__ import annotations

import pytest
from statsmodels.stats.power import FTestAnovaPower

from edgeprune.core.errors import RequestError
from edgeprune.core.sample_size import POWER, require_power, required_images


@pytest.mark.parametrize("omega_squared", [0.001, 0.05, 0.3])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("asked", [POWER, 0.5, 0.95])
def test_it_is_the_least_number_with_that_power(omega_squared: float, classes: int, asked: float) -> None:
    effect = (omega_squared / (1 - omega_squared)) ** 0.5
    images = required_images(omega_squared, classes, power=asked)
    assert images is not None
    power = FTestAnovaPower().power
    assert power(effect, images, 0.05, k_groups=classes) >= asked
    assert images == 2 * classes or power(effect, images - 1, 0.05, k_groups=classes) < asked
    solved = FTestAnovaPower().solve_power(effect, alpha=0.05, power=asked, k_groups=classes)
    assert images == pytest.approx(max(solved, 2 * classes), abs=1)


def test_a_large_effect_still_takes_two_images_of_each_class() -> None:
    assert required_images(0.999, 10) == required_images(1.0, 10) == 20


@pytest.mark.parametrize(("omega_squared", "classes"), [(0.0, 10), (1e-12, 10), (0.5, 1)])
def test_no_number_of_images_shows_what_is_not_there(omega_squared: float, classes: int) -> None:
    assert required_images(omega_squared, classes) is None


@pytest.mark.parametrize("power", [0.0, 1.0, -0.5, 80.0, float("nan")])
def test_what_is_no_power_is_refused(power: float) -> None:
    with pytest.raises(RequestError) as caught:
        require_power(power)
    assert caught.value.message == f"--power {power:g} is not between 0 and 1"
    assert caught.value.hint == "write 80 % like this: 0.8"

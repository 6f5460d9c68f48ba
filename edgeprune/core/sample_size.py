"""Sample size: how many images it takes to see that a unit tells the classes apart."""

from __future__ import annotations

from bisect import bisect_left

from edgeprune.core.errors import RequestError

POWER = 0.8
"""The usual one (Cohen 1988, Statistical Power Analysis, chapter 2)."""
_MOST = 10**9


def require_power(power: float) -> None:
    """Refuse what is no power of a test.

    Raises
    ------
    RequestError
        It is not between 0 and 1.
    """
    if not 0 < power < 1:
        raise RequestError(f"--power {power:g} is not between 0 and 1", hint="write 80 % like this: 0.8")


def required_images(
    omega_squared: float, classes: int, *, power: float = POWER, alpha: float = 0.05
) -> int | None:
    """Images, over all classes, for a one-way F-test to find an effect with the given power.

    The effect size is Cohen's f of the explained share, `omega_squared / (1 - omega_squared)` under the
    root (Cohen 1988, Statistical Power Analysis, chapter 8). At least two images per class; None where
    no effect is to be found, or only with more than a thousand million images.
    """
    from statsmodels.stats.power import FTestAnovaPower

    if omega_squared <= 0 or classes < 2:
        return None
    least = 2 * classes
    if omega_squared >= 1:
        return least
    effect = (omega_squared / (1 - omega_squared)) ** 0.5
    test = FTestAnovaPower()

    def suffices(images: int) -> bool:
        return bool(test.power(effect, images, alpha, k_groups=classes) >= power)

    # Doubled until it suffices: the noncentral F distribution is not a number far above the answer.
    enough = least
    while not suffices(enough):
        enough *= 2
        if enough > _MOST:
            return None
    return least + bisect_left(range(least, enough), True, key=suffices)

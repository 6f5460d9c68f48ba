"""Noise: which operators make most of what quantizing adds to a file, found with few measurements.

Noise of operators that are quantized one at a time adds up to about the noise of all of them, so the noisiest
run of operators is halved until single ones remain or the measurements are spent.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeprune.core.operator import Operator


@dataclass(frozen=True, slots=True)
class Share:
    """Neighbouring operators and the noise power they make when only they are quantized."""

    operators: tuple[Operator, ...]
    noise: float


def noisiest(
    operators: Sequence[Operator],
    noise_of: Callable[[Sequence[Operator]], float],
    *,
    measurements: int = 48,
) -> list[Share]:
    """All operators in shares, the noisiest first.

    Parameters
    ----------
    noise_of : callable
        Measures the noise power when only these operators are quantized.
    measurements : int
        How often it may be called; with no more operators than that, every share is a single one.
    """
    if len(operators) <= measurements:
        return _sorted(Share((one,), noise_of([one])) for one in operators)
    whole = Share(tuple(operators), noise_of(operators))
    waiting, done, left = [(-whole.noise, 0, whole)], [], measurements - 1
    while waiting and left >= 2:
        _, place, share = heapq.heappop(waiting)
        middle = len(share.operators) // 2
        for first, half in ((place, share.operators[:middle]), (place + middle, share.operators[middle:])):
            found = Share(half, noise_of(half))
            left -= 1
            if len(half) == 1:
                done.append(found)
            else:
                heapq.heappush(waiting, (-found.noise, first, found))
    return _sorted([*done, *(share for _, _, share in waiting)])


def fewest(count: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number of shares, 1 to `count`, that may go back for the bound to hold; None if none does.

    Doubled until it holds, then halved: taken to hold for all larger numbers, too.
    """
    tried, number = 0, 1
    while not holds(number):
        if number == count:
            return None
        tried, number = number, min(2 * number, count)
    while number - tried > 1:
        middle = (tried + number) // 2
        tried, number = (tried, middle) if holds(middle) else (middle, number)
    return number


def _sorted(shares: Iterable[Share]) -> list[Share]:
    return sorted(shares, key=lambda share: -share.noise)

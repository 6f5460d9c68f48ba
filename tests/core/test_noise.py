"""The noisiest operators are found with few measurements, and no more go back than a bound needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from edgeprune.core.noise import fewest, noisiest
from edgeprune.core.operator import Operator


def operators(count: int) -> list[Operator]:
    return [Operator(f"op{number}", "Conv") for number in range(count)]


@dataclass
class Bench:
    """Noise that adds up: what was planted, and a little of every other operator."""

    planted: Mapping[int, float]
    measured: list[int] = field(default_factory=list)

    def noise(self, some: Sequence[Operator]) -> float:
        self.measured.append(len(some))
        return sum(self.planted.get(int(one.name.removeprefix("op")), 0.001) for one in some)


def names(some: Sequence[Operator]) -> list[str]:
    return [one.name for one in some]


def test_few_operators_are_measured_one_by_one() -> None:
    bench = Bench({2: 5.0, 0: 1.0})
    shares = noisiest(operators(4), bench.noise, measurements=4)
    assert [names(one.operators) for one in shares] == [["op2"], ["op0"], ["op1"], ["op3"]]
    assert [one.noise for one in shares] == [5.0, 1.0, 0.001, 0.001]
    assert bench.measured == [1, 1, 1, 1]


@pytest.mark.parametrize("planted", [{300: 9.0}, {0: 9.0, 511: 5.0}, {100: 9.0, 101: 5.0, 400: 3.0}])
def test_planted_culprits_among_hundreds_are_singled_out(planted: dict[int, float]) -> None:
    bench = Bench(planted)
    shares = noisiest(operators(512), bench.noise)
    assert [names(one.operators) for one in shares[: len(planted)]] == [[f"op{number}"] for number in planted]
    assert len(bench.measured) <= 48


@pytest.mark.parametrize(("count", "measurements"), [(2, 1), (7, 2), (49, 48), (100, 3), (512, 48)])
def test_every_operator_is_in_one_share_and_no_measurement_more_is_made(
    count: int, measurements: int
) -> None:
    bench = Bench({1: 2.0})
    shares = noisiest(operators(count), bench.noise, measurements=measurements)
    found = [name for share in shares for name in names(share.operators)]
    assert sorted(found) == sorted(names(operators(count)))
    assert len(bench.measured) <= measurements
    assert [one.noise for one in shares] == sorted((one.noise for one in shares), reverse=True)


def test_operators_of_a_share_are_neighbours() -> None:
    for share in noisiest(operators(200), Bench({7: 1.0}).noise, measurements=9):
        places = [int(one.name.removeprefix("op")) for one in share.operators]
        assert places == list(range(places[0], places[0] + len(places)))


def test_equal_noise_is_halved_in_the_order_operators_run_and_twice_alike() -> None:
    first, again = (noisiest(operators(64), Bench({}).noise, measurements=9) for _ in range(2))
    assert first == again


def test_no_operators_make_no_shares() -> None:
    assert noisiest([], Bench({}).noise) == []


def asked(holds: Callable[[int], bool]) -> tuple[list[int], Callable[[int], bool]]:
    """The question with a list that keeps what was asked."""
    questions: list[int] = []

    def noted(number: int) -> bool:
        questions.append(number)
        return holds(number)

    return questions, noted


@pytest.mark.parametrize("count", [1, 2, 3, 48, 100])
def test_the_smallest_number_that_holds_is_found_wherever_it_is(count: int) -> None:
    for least in range(1, count + 1):
        _, holds = asked(lambda number, least=least: number >= least)
        assert fewest(count, holds) == least


def test_numbers_are_doubled_until_the_bound_holds_and_then_halved() -> None:
    questions, holds = asked(lambda number: number >= 11)
    assert fewest(100, holds) == 11
    assert questions == [1, 2, 4, 8, 16, 12, 10, 11]


def test_where_one_is_enough_only_one_is_asked_for() -> None:
    questions, holds = asked(lambda number: True)
    assert (fewest(100, holds), questions) == (1, [1])


def test_where_none_holds_there_is_none_and_all_of_them_were_tried() -> None:
    questions, holds = asked(lambda number: False)
    assert (fewest(10, holds), questions) == (None, [1, 2, 4, 8, 10])

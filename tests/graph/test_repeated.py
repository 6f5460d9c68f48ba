"""Recorded work does what the work does, as often as it is asked for, for every shape it is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from edgeprune.graph.repeated import Repeated


class Sums:
    """Work with a memory: the sum of all it was given."""

    def __init__(self) -> None:
        self.total = torch.zeros(())
        self.plain = 0

    def __call__(self, inputs: Tensor, factors: Tensor | None = None) -> Tensor:
        self.plain += 1
        self.total += (inputs if factors is None else inputs * factors).sum()
        return self.total


class Tape:
    """Records like a CUDA graph: nothing runs at first, and replays know the held inputs only."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recorded += 1

        def replay() -> Tensor:
            self.replayed += 1
            return work()

        return replay


def run_all(repeated: Repeated, inputs: list[Tensor]) -> None:
    for one in inputs:
        repeated(one)


def refusing(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def test_every_run_counts_whether_recorded_or_not() -> None:
    sums, tape = Sums(), Tape()
    repeated = Repeated(sums, tape)
    for number in range(10):
        assert float(repeated(torch.full((4,), float(number)))) == 4 * sum(range(number + 1))
    assert (tape.recorded, tape.replayed, sums.plain) == (1, 7, 10)


def test_every_set_of_shapes_is_recorded_by_itself() -> None:
    sums, tape = Sums(), Tape()
    repeated = Repeated(sums, tape)
    for number in range(12):
        repeated(torch.ones(3 + number % 2), torch.ones(()))
    assert float(sums.total) == 6 * 3 + 6 * 4
    assert (tape.recorded, tape.replayed) == (2, 12 - 2 * 3)


def test_without_a_recorder_nothing_is_recorded() -> None:
    sums = Sums()
    repeated = Repeated(sums, None)
    for _ in range(8):
        repeated(torch.ones(2))
    assert float(sums.total) == 16


def test_where_recording_fails_the_work_goes_on_with_one_warning() -> None:
    sums = Sums()
    repeated = Repeated(sums, refusing)
    with pytest.warns(RuntimeWarning) as caught:
        run_all(repeated, [torch.ones(2 + number % 2) for number in range(12)])
    assert [str(one.message) for one in caught] == [
        "training goes on without a CUDA graph, slower: operation not permitted when stream is capturing"
    ]
    assert float(sums.total) == 6 * 2 + 6 * 3


def test_an_error_of_another_kind_is_not_taken_for_a_refusal() -> None:
    def broken(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise TypeError("a mistake of ours")

    repeated = Repeated(Sums(), broken)
    with pytest.raises(TypeError):
        run_all(repeated, [torch.ones(2)] * 8)

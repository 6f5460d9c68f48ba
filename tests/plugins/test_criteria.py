"""Each criterion ranks by what its name says; the weighted one by both of its parts."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.group import Group
from edgeprune.core.registry import build
from edgeprune.testing import FakeEvidence, Floats, a_group


class Told(FakeEvidence):
    """Evidence that is told what to say; magnitude depends on the order of the norm."""

    f: Floats | None = None

    def f_statistic(self, group: Group) -> Floats | None:
        return np.array([4.0, 0.0, 2.0, 2.0])

    def magnitude(self, group: Group, order: float) -> Floats:
        return order * np.array([10.0, 20.0, 10.0, 30.0])


def scores(name: str, evidence: FakeEvidence, **options: float) -> list[float]:
    return build("criteria", name, options).score(a_group(), evidence).tolist()


def test_magnitudes_are_the_norms_of_their_order() -> None:
    assert scores("l1", Told()) == [10.0, 20.0, 10.0, 30.0]
    assert scores("l2", Told()) == [20.0, 40.0, 20.0, 60.0]


def test_screening_weighs_f_and_magnitude_scaled_to_one() -> None:
    assert scores("screening", Told(), alpha=1) == [1.0, 0.0, 0.5, 0.5]
    assert scores("screening", Told(), alpha=0) == [0.0, 0.5, 0.0, 1.0]
    assert scores("screening", Told(), alpha=0.5) == [0.5, 0.25, 0.25, 0.75]
    assert scores("screening", Told()) == scores("screening", Told(), alpha=0.3)


def test_screening_ranks_by_magnitude_where_no_layer_reads_the_group() -> None:
    evidence = FakeEvidence(labelled=False)
    assert scores("screening", evidence, alpha=1) == scores("screening", evidence, alpha=0)


def test_units_that_are_all_alike_score_zero() -> None:
    class Alike(FakeEvidence):
        def magnitude(self, group: Group, order: float) -> Floats:
            return np.full(group.units, 7.0)

        def f_statistic(self, group: Group) -> Floats | None:
            return np.full(group.units, 1e12)

    assert scores("screening", Alike()) == [0, 0, 0, 0]


def test_refit_ranks_by_elimination_and_by_magnitude_without() -> None:
    assert scores("refit", FakeEvidence()) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert scores("refit", FakeEvidence(labelled=False)) == [1, 2, 3, 4]


def test_random_passes_on_the_seeded_numbers() -> None:
    assert scores("random", FakeEvidence()) == FakeEvidence().random(a_group()).tolist()


@pytest.mark.parametrize(
    ("name", "needed"),
    [("screening", True), ("refit", True), ("l1", False), ("l2", False), ("random", False)],
)
def test_a_criterion_says_whether_it_needs_data(name: str, needed: bool) -> None:
    assert build("criteria", name).needs_data is needed

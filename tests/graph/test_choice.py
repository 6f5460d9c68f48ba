"""The choice among criteria adds up the refit errors of the cuts that each of them would make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from tiny import CLASSES, a_split, tiny_coupling

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need
from edgeprune.graph.choice import harms_of, least
from edgeprune.graph.evidence import GroupEvidence
from edgeprune.testing import FakeEvidence, Floats


@dataclass(frozen=True)
class InOrder:
    """Ranks by the evidence's magnitude, forwards or backwards."""

    sign: int
    needs: ClassVar[frozenset[Need]] = frozenset()

    def score(self, group: Group, evidence: Evidence) -> Floats:
        return self.sign * evidence.magnitude(group, 2)


def judge(*needs: Need) -> GroupEvidence:
    coupling = tiny_coupling()
    groups = [one for one in coupling.free() if one.kind == "channels"]
    evidence = GroupEvidence(coupling, groups, CLASSES, 0, frozenset(needs))
    for inputs, labels in a_split(60).batches(60):
        evidence.add(torch.from_numpy(inputs), labels)
    return evidence


def test_a_candidate_is_judged_by_the_cuts_that_its_ranking_makes() -> None:
    evidence = judge("gram")
    # The fake ranks every group's units upwards, so the cut at a half takes the first half of them.
    found = harms_of([InOrder(1), InOrder(-1)], evidence.groups, FakeEvidence(), evidence)
    assert found is not None
    for harms, step in zip(found, (1, -1), strict=True):
        per_group = []
        for group in evidence.groups:
            curve = evidence.harm(group, np.zeros(group.units), list(range(group.units))[::step])
            per_group.append(np.mean([curve[round(share * group.units)] for share in (0.25, 0.5, 0.75)]))
        assert harms == pytest.approx(per_group, rel=1e-8)


def test_nothing_is_judged_without_second_moments() -> None:
    assert harms_of([InOrder(1)], judge("moments").groups, FakeEvidence(), judge("moments")) is None


FIRST = [0.10, 0.20, 0.30, 0.15, 0.25, 0.12]


def candidates(*changes: list[float]) -> Floats:
    return np.array([FIRST, *(np.add(FIRST, one) for one in changes)])


def test_what_is_better_in_every_group_is_taken() -> None:
    clear, clearer = [-0.01, -0.02, -0.01, -0.02, -0.01, -0.02], [-0.03, -0.02, -0.03, -0.02, -0.03, -0.02]
    best, p_values = least(candidates(clear, clearer))
    assert best == 2
    assert p_values[0] is None
    expected = ttest_rel(candidates(clear)[1], FIRST, alternative="less").pvalue
    assert p_values[1] == pytest.approx(expected)


def test_what_is_better_by_chance_is_not() -> None:
    by_one_group = [-0.09, 0.01, 0.01, 0.01, 0.01, 0.01]
    best, p_values = least(candidates(by_one_group))
    assert best == 0
    assert p_values[1] == pytest.approx(
        ttest_rel(candidates(by_one_group)[1], FIRST, alternative="less").pvalue
    )


def test_among_many_candidates_it_takes_more_to_be_better() -> None:
    barely = [-0.010, -0.015, 0.003, -0.004, -0.012, 0.001]
    alone, (_, p_value) = least(candidates(barely))
    assert p_value is not None
    assert 0.01 < p_value < 0.05
    worse = [[0.1, 0.2, 0.1, 0.2, 0.1, 0.2]] * 5
    assert (alone, least(candidates(barely, *worse))[0]) == (1, 0)


@pytest.mark.parametrize("change", [[0.0] * 6, [-0.01] * 6, [-1e-16, 1e-16, 0, -2e-16, -1e-16, 0]])
def test_where_nothing_can_be_tested_the_first_is_taken(change: list[float]) -> None:
    harms = candidates(change)
    assert least(harms) == (0, [None, None])
    assert least(harms[:, :1]) == (0, [None, None])

"""The choice among criteria adds up the refit errors of the cuts that each of them would make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from tiny import CLASSES, a_split, tiny_coupling

from edgeprune.core.group import Group
from edgeprune.core.protocols import Evidence, Need
from edgeprune.graph.choice import harms_of
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
    for harm, step in zip(found or [], (1, -1), strict=True):
        per_group = []
        for group in evidence.groups:
            curve = evidence.harm(group, np.zeros(group.units), list(range(group.units))[::step])
            per_group.append(np.mean([curve[round(share * group.units)] for share in (0.25, 0.5, 0.75)]))
        assert harm == pytest.approx(np.mean(per_group), rel=1e-8)


def test_nothing_is_judged_without_second_moments() -> None:
    assert harms_of([InOrder(1)], judge("moments").groups, FakeEvidence(), judge("moments")) is None

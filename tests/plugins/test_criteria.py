"""Each criterion ranks by what its name says; the weighted one by both of its parts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.group import Group, Role
from edgeprune.core.registry import build, build_from, names
from edgeprune.testing import (
    FakeConnectionEvidence,
    FakeEvidence,
    Floats,
    a_group,
    check_connection_criterion,
    check_criterion,
)


class Told(FakeEvidence):
    """Evidence that is told what to say; magnitude depends on the order of the norm."""

    def f_statistic(self, group: Group) -> Floats | None:
        return np.array([4.0, 0.0, 2.0, 2.0])

    def magnitude(self, group: Group, order: float) -> Floats:
        return order * np.array([10.0, 20.0, 10.0, 30.0])

    def group_norm(self, group: Group) -> Floats:
        return np.array([20.0, 40.0, 20.0, 60.0])


class Weighted(FakeEvidence):
    """Four units with two producing weights and one reading weight each."""

    producer: tuple[tuple[float, float], ...] = ((3, 4), (0, 0), (-6, 8), (3, 4))
    consumer: tuple[float, ...] = (12, 0, 0, -1)

    def weights(self, group: Group, roles: Iterable[Role]) -> list[Floats]:
        of_role = {"producer": self.producer, "consumer": self.consumer}
        return [np.reshape(of_role[role], (4, 1, -1)).astype(float) for role in roles if role in of_role]


class Untrained(Weighted):
    """All weights are zero."""

    producer = ((0, 0),) * 4
    consumer = (0,) * 4


def scores(name: str, evidence: FakeEvidence, **options: object) -> list[float]:
    return build("criteria", name, options).score(a_group(), evidence).tolist()


def test_magnitudes_are_the_norms_of_their_order() -> None:
    assert scores("l1", Told()) == [10.0, 20.0, 10.0, 30.0]
    assert scores("l2", Told()) == [20.0, 40.0, 20.0, 60.0]


def test_screening_weighs_f_and_magnitude_scaled_to_one() -> None:
    assert scores("screening", Told(), alpha=1) == [1.0, 0.0, 0.5, 0.5]
    assert scores("screening", Told(), alpha=0) == [0.0, 0.5, 0.0, 1.0]
    assert scores("screening", Told(), alpha=0.5) == [0.5, 0.25, 0.25, 0.75]


def test_screening_ranks_both_parts_where_it_is_told_to() -> None:
    assert scores("screening", Told(), alpha=1, norm="rank") == pytest.approx([1, 0, 0.5, 0.5])
    assert scores("screening", Told(), alpha=0, norm="rank") == pytest.approx([0, 0.6, 0, 1])


def test_screening_takes_the_logarithm_of_f_alone() -> None:
    log = np.log1p([4.0, 0.0, 2.0, 2.0]) / np.log(5)
    assert scores("screening", Told(), alpha=1, norm="log") == pytest.approx(log)
    assert scores("screening", Told(), alpha=0, norm="log") == scores("screening", Told(), alpha=0)


def test_one_unit_with_an_infinite_f_hides_the_others_from_minmax_but_not_from_rank() -> None:
    class Heavy(Told):
        def f_statistic(self, group: Group) -> Floats | None:
            return np.array([1e12, 3.0, 1.0, 2.0])

    plain, ranks = scores("screening", Heavy(), alpha=1), scores("screening", Heavy(), alpha=1, norm="rank")
    assert plain == pytest.approx([1, 0, 0, 0], abs=1e-9)
    assert ranks == pytest.approx([1, 2 / 3, 0, 1 / 3])


def test_screening_ranks_by_magnitude_where_no_layer_reads_the_group() -> None:
    evidence = FakeEvidence(frozenset())
    assert scores("screening", evidence, alpha=1) == scores("screening", evidence, alpha=0)


def test_screening_leaves_its_weight_to_the_run_unless_it_is_given() -> None:
    assert [one.alpha for one in build("criteria", "screening").candidates()] == [0, 0.1, 0.3, 0.5, 0.7, 1]
    ranked = build("criteria", "screening", {"norm": "rank"}).candidates()
    assert {one.norm for one in ranked} == {"rank"}
    assert build("criteria", "screening", {"alpha": 0}).candidates() == ()


@pytest.mark.parametrize("norm", ["minmax", "log", "rank"])
def test_units_that_are_all_alike_score_zero(norm: str) -> None:
    class Alike(FakeEvidence):
        def group_norm(self, group: Group) -> Floats:
            return np.full(group.units, 7.0)

        def f_statistic(self, group: Group) -> Floats | None:
            return np.full(group.units, 1e12)

    assert scores("screening", Alike(), norm=norm) == [0, 0, 0, 0]


def test_statistics_rank_alone() -> None:
    assert scores("f", Told()) == [4, 0, 2, 2]
    assert scores("welch", FakeEvidence()) == [0, 3, 6, 9]


def test_refit_ranks_by_elimination_and_taylor_by_saliency() -> None:
    assert scores("refit", FakeEvidence()) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert scores("taylor", FakeEvidence()) == [0, 1, 4, 9]


def test_refit_asks_for_classes_where_they_count() -> None:
    plain, apart = build("criteria", "refit"), build_from("criteria", "refit?separation=0.5")
    assert plain.needs == {"gram"}
    assert apart.needs == {"gram", "outcomes"}
    assert scores("refit", FakeEvidence(), separation=0.5) == pytest.approx([0, 1 / 9, 4 / 9, 1])
    with pytest.raises(RequestError):
        build_from("criteria", "refit?separation=1.5")


def test_group_l2_is_the_norm_of_the_group_and_what_screening_weighs_f_with() -> None:
    assert scores("group-l2", Told()) == [20, 40, 20, 60]
    assert scores("screening", Told(), alpha=0) == [0, 0.5, 0, 1]


def test_bn_scale_ranks_by_gains_and_by_magnitude_without() -> None:
    class Normless(FakeEvidence):
        def gains(self, group: Group) -> Floats | None:
            return None

    assert scores("bn-scale", FakeEvidence()) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert scores("bn-scale", Normless()) == scores("l2", Normless())


def test_fpgm_adds_up_the_distances_to_the_other_filters() -> None:
    # (3, 4), (0, 0), (-6, 8), (3, 4): twins are as near to all others as each other.
    between = np.hypot(9, 4)
    assert scores("fpgm", Weighted()) == pytest.approx(
        [5 + between, 5 + 10 + 5, 2 * between + 10, 5 + between]
    )


def test_lamp_is_the_share_among_those_that_are_not_smaller() -> None:
    # Squared norms 25, 0, 100, 25; equal ones count each other.
    assert scores("lamp", Weighted()) == pytest.approx([25 / 150, 0, 1, 25 / 150])


def test_wanda_adds_up_what_arrives_at_the_readers() -> None:
    assert scores("wanda", FakeEvidence()) == [2, 4, 6, 8]


@pytest.mark.parametrize("name", ["fpgm", "lamp"])
def test_zero_weights_score_zero(name: str) -> None:
    assert scores(name, Untrained()) == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["f", "welch", "refit", "taylor", "wanda"])
def test_a_group_without_such_evidence_is_ranked_by_magnitude(name: str) -> None:
    nothing = FakeEvidence(frozenset())
    assert scores(name, nothing) == scores("l2", nothing) == [1, 2, 3, 4]


def test_random_passes_on_the_seeded_numbers() -> None:
    assert scores("random", FakeEvidence()) == FakeEvidence().random(a_group()).tolist()


NEEDS = {
    "screening": "moments",
    "f": "moments",
    "welch": "moments",
    "refit": "gram",
    "taylor": "gradients",
    "wanda": "activations",
}


@pytest.mark.parametrize("name", names("criteria"))
def test_a_criterion_says_what_it_needs(name: str) -> None:
    assert build("criteria", name).needs == ({NEEDS[name]} if name in NEEDS else set())


def test_the_contract_finds_a_criterion_that_looks_at_what_it_does_not_ask_for() -> None:
    class Peeking:
        needs = frozenset[str]()

        def score(self, group: Group, evidence: FakeEvidence) -> Floats:
            found = evidence.saliency(group)
            return evidence.magnitude(group, 2) if found is None else found

    with pytest.raises(AssertionError, match="its `needs` do not name"):
        check_criterion(Peeking())


CONNECTIONS = "f l1 l2 lamp random screening taylor wanda welch".split()


def of_connections(name: str, evidence: FakeConnectionEvidence | None = None, **options: object) -> Floats:
    """Scores of a weight of 2 outputs and 3 inputs with values 1 to 6."""
    criterion = build("criteria", name, options)
    return criterion.score_connections("weight", evidence or FakeConnectionEvidence((2, 3)))


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_criterion_of_connections_keeps_the_contract(name: str) -> None:
    check_connection_criterion(build("criteria", name))


def test_these_criteria_rank_connections_and_no_others() -> None:
    able = [name for name in names("criteria") if hasattr(build("criteria", name), "score_connections")]
    assert able == CONNECTIONS


def test_of_one_connection_every_norm_is_its_magnitude() -> None:
    for name in ("l1", "l2"):
        assert of_connections(name).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_wanda_multiplies_each_weight_with_what_it_reads() -> None:
    assert of_connections("wanda").tolist() == [[1, 4, 9], [4, 10, 18]]


def test_f_and_welch_tell_inputs_apart_but_not_the_connections_of_one() -> None:
    assert of_connections("f").tolist() == [[0, 2, 4]] * 2
    assert of_connections("welch").tolist() == [[0, 3, 6]] * 2


def test_screening_of_connections_weighs_both_parts_within_the_weight() -> None:
    assert of_connections("screening", alpha=1).tolist() == [[0, 0.5, 1]] * 2
    assert of_connections("screening", alpha=0) == pytest.approx(np.arange(6).reshape(2, 3) / 5)
    mixed = of_connections("screening", alpha=0.5)
    assert mixed == pytest.approx(0.5 * np.array([[0, 0.5, 1]] * 2) + np.arange(6).reshape(2, 3) / 10)


def test_lamp_is_the_share_among_the_connections_that_are_not_smaller() -> None:
    squares = np.square(np.arange(1.0, 7.0))
    shares = [square / squares[place:].sum() for place, square in enumerate(squares)]
    assert of_connections("lamp") == pytest.approx(np.reshape(shares, (2, 3)))


def test_without_labels_and_images_connections_are_ranked_by_magnitude() -> None:
    bare = FakeConnectionEvidence((2, 3), frozenset())
    for name in ("f", "welch", "wanda", "l2"):
        assert of_connections(name, bare).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert of_connections("screening", bare, alpha=1) == pytest.approx(np.arange(6).reshape(2, 3) / 5)

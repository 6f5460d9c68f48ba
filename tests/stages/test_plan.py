"""A plan meets every bound, on widths the target likes, with the units of least harm cut first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import a_split, tiny, tiny_coupling

from edgeprune.core.errors import BudgetError
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.plan import Cost, Cut, Plan
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.screening import Screening
from edgeprune.core.units import format_count
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink

UNITS = {"stem.0": 16, "body.0": 12}


def screening(coupling: Coupling) -> Screening:
    return screen(coupling, None, build("criteria", "l2"), name="l2")


def planned(*, multiple: int = 1, **budget: float) -> Plan:
    coupling = tiny_coupling()
    return plan(coupling, screening(coupling), Budget.parse(budget, source=""), multiple=multiple, seed=5)


def least(kept: int = 1) -> Cost:
    """The cost with so many units left in both groups."""
    cuts = [Cut(group=name, units=units, kept=tuple(range(kept))) for name, units in UNITS.items()]
    return count(tiny_coupling(), tiny_coupling().narrowed(cuts))


def widths(found: Plan) -> dict[str, int]:
    return {cut.group: len(cut.kept) for cut in found.cuts}


@pytest.mark.parametrize("speedup", [1.01, 1.5, 2, 4, 10, 40])
def test_a_speedup_is_met(speedup: float) -> None:
    found = planned(speedup=speedup)
    assert found.before.macs / found.after.macs >= speedup
    assert found.budget == f">= {speedup:g}x fewer MACs"


def test_macs_and_parameters_are_met_together() -> None:
    loose, tight = planned(macs=400_000), planned(macs=400_000, parameters=1500, speedup=1.2)
    assert loose.after.macs <= 400_000
    assert loose.after.parameters > 1500
    assert tight.after.macs <= 400_000
    assert tight.after.parameters <= 1500
    assert tight.budget == ">= 1.2x fewer MACs, <= 400000 MACs, <= 1500 parameters"


def test_a_budget_that_is_met_already_cuts_nothing() -> None:
    found = planned(parameters=10_000)
    assert found.cuts == ()
    assert found.before == found.after


def test_the_most_that_can_go_leaves_one_unit_everywhere() -> None:
    assert widths(planned(macs=least().macs)) == {"stem.0": 1, "body.0": 1}


@pytest.mark.parametrize("multiple", [2, 4, 8])
def test_kept_channels_are_multiples(multiple: int) -> None:
    for speedup in (1.2, 2):
        cuts = planned(speedup=speedup, multiple=multiple).cuts
        assert cuts
        assert all(len(cut.kept) % multiple == 0 for cut in cuts)


def test_a_group_that_has_no_such_width_stays_whole() -> None:
    with pytest.raises(BudgetError) as caught:
        planned(speedup=1.1, multiple=16)
    assert caught.value.message == "the budget >= 1.1x fewer MACs cannot be reached"


@pytest.mark.parametrize(
    ("multiple", "kept", "reachable"),
    [(1, 1, "11.5 k MACs, 71 parameters"), (8, 8, "350 k MACs, 1.51 k parameters")],
)
def test_an_unreachable_budget_says_what_is_reachable(multiple: int, kept: int, reachable: str) -> None:
    with pytest.raises(BudgetError) as caught:
        planned(speedup=1000, multiple=multiple)
    assert caught.value.message == "the budget >= 1000x fewer MACs cannot be reached"
    assert caught.value.hint == (
        f"with every free group at its narrowest: {reachable}; "
        "`edgeprune inspect` lists what is locked and why"
    )
    cost = least(kept)
    assert f"{format_count(cost.macs)} MACs, {format_count(cost.parameters)} parameters" == reachable
    assert planned(macs=cost.macs, multiple=multiple).after == cost


def test_locked_groups_stay_whole() -> None:
    assert [group.id for group in tiny_coupling().groups if group.locked] == ["head"]
    assert set(widths(planned(macs=least().macs))) == set(UNITS)


def test_units_go_in_the_order_of_the_screening() -> None:
    ranks = screening(tiny_coupling()).groups
    for cut in planned(speedup=3).cuts:
        removed = ranks[cut.group].order[: len(cut.removed)]
        assert cut.units == UNITS[cut.group]
        assert sorted(removed) == list(cut.removed)


def test_the_residual_stream_is_cut_only_when_the_rest_does_not_suffice() -> None:
    alone = [Cut(group="body.0", units=12, kept=(0,))]
    furthest = count(tiny_coupling()).macs / count(tiny_coupling(), tiny_coupling().narrowed(alone)).macs
    assert set(widths(planned(speedup=2))) == {"body.0"}
    assert set(widths(planned(speedup=furthest))) == {"body.0"}
    assert "stem.0" in widths(planned(speedup=furthest * 1.01))


def test_the_group_with_the_least_harm_per_saving_is_cut_first() -> None:
    coupling = couple(tiny("grouped"))
    ranks = screen(coupling, a_split(60), build("criteria", "refit"), name="refit")
    before = count(coupling).macs
    price = {}
    for name, one in ranks.groups.items():
        cut = Cut(group=name, units=len(one.order), kept=tuple(sorted(one.order[1:])))
        price[name] = one.harm[1] / (before - count(coupling, coupling.narrowed([cut])).macs)
    (first,) = plan(coupling, ranks, Budget(speedup=1.01), multiple=1).cuts
    assert first.group == min(price, key=price.__getitem__)


def test_a_plan_carries_its_question_and_is_the_same_every_time() -> None:
    found = planned(speedup=2)
    assert (found.criterion, found.seed) == ("l2", 5)
    assert found.graph == tiny_coupling().program.fingerprint()
    assert found == planned(speedup=2)


def test_an_edited_plan_replays_with_its_own_cost(tmp_path: Path) -> None:
    planned(speedup=2).save(tmp_path / "plan.json")
    written = json.loads((tmp_path / "plan.json").read_text())
    (cut,) = written["cuts"]
    cut["kept"] = [0, 5, 11]
    del written["tensors"]
    (tmp_path / "plan.json").write_text(json.dumps(written))
    program, done, _ = shrink(tiny_coupling(), Plan.load(tmp_path / "plan.json"))
    assert program.tensors()["body.0.weight"].shape == (3, 16, 3, 3)
    assert widths(done) == {"body.0": 3}
    assert done.tensors["last.0.weight"] == Narrowing(shape=(16, 12, 3, 3), kept={1: (0, 5, 11)})
    assert done.after == count(couple(program))

"""A cut that keeps impossible units cannot be written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.documents import PLAN
from edgeprune.core.errors import DocumentError, RequestError
from edgeprune.core.plan import Cut, Plan, composed, find_plan


def test_what_goes_is_what_does_not_stay() -> None:
    assert Cut(group="body", units=5, kept=(1, 4)).removed == (0, 2, 3)
    assert Cut(group="body", units=2, kept=(0, 1)).removed == ()


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        ([], "group 'body' keeps nothing; at least one unit must stay"),
        ([2, 1], "kept must be ascending, each unit once"),
        ([1, 1], "kept must be ascending, each unit once"),
        ([-1, 0], "kept must lie in 0..3"),
        ([0, 4], "kept must lie in 0..3"),
    ],
)
def test_kept_units_exist_once_in_order(kept: list[int], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Cut.parse({"group": "body", "units": 4, "kept": kept}, source="cut")
    assert caught.value.message == f"cut: {fault}"


@pytest.mark.parametrize(
    ("lanes", "fault"),
    [
        ([[0, 1], [2, 2]], "lane 1 must name each unit once, and as many as kept"),
        ([[0, 1], [2]], "lane 1 must name each unit once, and as many as kept"),
        ([[0, 1], [2, 4]], "lane 1 must lie in 0..3"),
        ([[1, 2], [0, 1]], "kept must be the first of the lanes"),
    ],
)
def test_every_lane_keeps_as_many_units(lanes: list[list[int]], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Cut.parse({"group": "body", "units": 4, "kept": [0, 1], "lanes": lanes}, source="cut")
    assert caught.value.message == f"cut: {fault}"


def test_lanes_are_written_where_there_are_some() -> None:
    plain = Cut(group="body", units=4, kept=(0, 1))
    own = Cut(group="body", units=4, kept=(0, 1), lanes=((0, 1), (2, 3)))

    assert json.loads(plain.to_json()) == {"group": "body", "units": 4, "kept": [0, 1]}
    assert json.loads(own.to_json())["lanes"] == [[0, 1], [2, 3]]
    for cut in (plain, own):
        assert Cut.parse(json.loads(cut.to_json()), source="cut") == cut


def test_plans_whose_lanes_differ_differ() -> None:
    first = with_cuts(Cut(group="body", units=4, kept=(0, 1), lanes=((0, 1), (2, 3), (0, 1))))
    second = with_cuts(Cut(group="body", units=4, kept=(0, 1)))

    (row,) = first.compare(second).groups
    assert (row.only_first, row.only_second, row.lanes) == ((), (), 1)
    assert [one.lanes for one in first.compare(with_cuts()).groups] == [3]
    assert first.compare(first).groups == ()
    turned = with_cuts(Cut(group="body", units=4, kept=(0, 1), lanes=((0, 1), (3, 2), (1, 0))))
    assert first.compare(turned).groups == ()


def with_cuts(*cuts: Cut) -> Plan:
    return PLAN.model_copy(update={"cuts": cuts})


def test_a_plan_says_each_thing_once() -> None:
    cut = {"group": "body", "units": 4, "kept": [0]}
    for changed, fault in (
        ({"cuts": [cut, cut]}, "cuts: group 'body' is cut twice"),
        ({"dropped": ["body.weight"]}, "dropped: 'body.weight' is in tensors, too"),
    ):
        with pytest.raises(DocumentError) as caught:
            Plan.parse({**PLAN.model_dump(), **changed}, source="plan.json")
        assert caught.value.message == f"plan.json: {fault}"


def test_two_plans_differ_by_the_units_that_only_one_keeps() -> None:
    stem, body = Cut(group="stem", units=3, kept=(0, 1)), Cut(group="body", units=4, kept=(1, 3))
    first = with_cuts(stem, body)
    second = with_cuts(stem, Cut(group="body", units=4, kept=(0, 3)), Cut(group="tail", units=2, kept=(1,)))
    found = first.compare(second, names=("a", "b"))
    assert (found.first.name, found.second.name, found.graph) == ("a", "b", "f00")
    assert (found.first.before, found.second.after) == (PLAN.before, PLAN.after)
    assert [row.model_dump() for row in found.groups] == [
        {
            "group": "body",
            "units": 4,
            "kept_first": 2,
            "kept_second": 2,
            "only_first": (1,),
            "only_second": (0,),
            "lanes": 0,
        },
        {
            "group": "tail",
            "units": 2,
            "kept_first": 2,
            "kept_second": 1,
            "only_first": (0,),
            "only_second": (),
            "lanes": 0,
        },
    ]
    assert (found.only_first, found.only_second) == ((), ("tail",))
    assert first.compare(first).groups == ()


def test_plans_of_different_networks_are_not_compared() -> None:
    with pytest.raises(RequestError) as caught:
        PLAN.compare(PLAN.model_copy(update={"graph": "f01"}), names=("a.json", "b.json"))
    assert caught.value.message == "a.json was made for graph f00, b.json for f01"
    assert caught.value.hint == "only plans of one network can be compared group by group"


def test_a_plan_is_found_in_its_file_and_its_run_folder(tmp_path: Path) -> None:
    PLAN.save(tmp_path / "plan.json")
    assert find_plan(tmp_path / "plan.json") == find_plan(tmp_path) == PLAN


def test_two_cuts_made_one_after_the_other_are_one_cut_of_the_first_network() -> None:
    first = (Cut(group="a", units=6, kept=(1, 2, 4, 5)), Cut(group="b", units=3, kept=(0, 2)))
    second = (Cut(group="a", units=4, kept=(0, 3)), Cut(group="c", units=2, kept=(1,)))
    assert composed(first, second) == (
        Cut(group="a", units=6, kept=(1, 5)),
        Cut(group="b", units=3, kept=(0, 2)),
        Cut(group="c", units=2, kept=(1,)),
    )
    assert composed((), first) == first == composed(first, ())


def test_what_stands_at_one_place_of_the_lanes_goes_together_in_a_later_cut() -> None:
    first = (Cut(group="a", units=6, kept=(1, 3, 5), lanes=((1, 3, 5), (4, 0, 2))),)
    second = (
        Cut(group="a", units=3, kept=(0, 2)),
        Cut(group="b", units=2, kept=(0,), lanes=((0,), (1,))),
    )

    assert composed(first, second) == (
        Cut(group="a", units=6, kept=(1, 5), lanes=((1, 5), (4, 2))),
        Cut(group="b", units=2, kept=(0,), lanes=((0,), (1,))),
    )

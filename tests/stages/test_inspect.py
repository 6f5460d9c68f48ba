"""Inspecting says what every group would save, what is locked and why, and cuts nothing."""

from __future__ import annotations

from tiny import tiny_coupling
from zoo import SITUATIONS

from edgeprune.core.inputs import InputSize
from edgeprune.core.inspection import GroupRow, Inspection, Lock
from edgeprune.core.plan import Cut
from edgeprune.graph.cost import count
from edgeprune.stages.inspect import inspect_groups


def row(found: Inspection, name: str) -> GroupRow:
    return next(one for one in found.groups if one.id == name)


def test_every_group_has_a_row_with_its_parameters() -> None:
    found = inspect_groups(tiny_coupling())
    assert [(one.id, one.kind, one.units, one.locked) for one in found.groups] == [
        ("stem.0", "channels", 16, None),
        ("body.0", "channels", 12, None),
        ("head", "channels", 10, Lock(why="the network's output", operator="output", source="", hint="")),
    ]
    assert row(found, "body.0").members == (
        *("body.0.weight", "body.1.weight", "body.1.bias", "last.0.weight"),
        *("body.1.running_mean", "body.1.running_var"),
    )


def test_savings_are_those_of_cutting_the_group_to_one_unit() -> None:
    coupling = tiny_coupling()
    found = inspect_groups(coupling)
    for name, units in (("stem.0", 16), ("body.0", 12)):
        after = count(coupling, coupling.narrowed([Cut(group=name, units=units, kept=(0,))]))
        assert row(found, name).macs == found.cost.macs - after.macs
        assert row(found, name).parameters == found.cost.parameters - after.parameters
    assert (row(found, "head").macs, row(found, "head").parameters) == (0, 0)


def test_the_ceiling_of_any_cut_is_every_free_group_at_one_unit() -> None:
    found = inspect_groups(tiny_coupling())
    assert found.cost == count(tiny_coupling())
    assert (found.least.macs, found.least.parameters) == (11_530, 71)
    assert found.beyond is None
    assert found.inputs == (InputSize(size=(3, 16, 16)),)
    assert found.graph == tiny_coupling().program.fingerprint()


def test_a_locked_group_names_operator_and_line() -> None:
    locked = row(inspect_groups(SITUATIONS["spatial_attention"].coupling()), "gate").locked
    assert locked is not None
    assert (locked.why, locked.operator) == ("one index that is repeated for all others", "aten.mul.Tensor")
    assert locked.source.startswith("zoo.py:")


def test_what_an_inexact_operator_locks_says_how_to_allow_it_and_what_that_would_give() -> None:
    found = inspect_groups(SITUATIONS["layer_norm_mlp"].coupling())
    locked = row(found, "embed").locked
    assert locked is not None
    assert (locked.why, locked.operator) == ("normalised over this axis", "aten.layer_norm.default")
    assert locked.hint == "allow it with --allow-inexact layer_norm"
    assert found.beyond is not None
    assert found.beyond.allow == ("layer_norm",)
    assert found.beyond.least == inspect_groups(SITUATIONS["layer_norm_allowed"].coupling()).least


def test_a_group_under_an_allowed_operator_is_marked() -> None:
    found = inspect_groups(SITUATIONS["layer_norm_allowed"].coupling())
    assert [(one.id, one.inexact) for one in found.groups] == [
        ("embed", ("layer_norm",)),
        ("up", ()),
        ("head", ()),
    ]
    assert found.beyond is None


def test_removable_branches_are_one_group_with_their_names_and_parameters() -> None:
    found = row(inspect_groups(SITUATIONS["residual_blocks"].coupling()), "blocks")
    assert (found.kind, found.units, len(found.names)) == ("blocks", len(found.names), found.units)
    assert all(name.startswith(found.names) for name in found.members)
    assert found.macs > 0


def test_several_inputs_are_told_with_what_they_hold() -> None:
    found = inspect_groups(SITUATIONS["words_and_image"].coupling())
    assert [str(one) for one in found.inputs] == ["5:int<11", "3x8x8"]


def test_layers_are_listed_with_widths_and_groups_in_the_order_they_run() -> None:
    found = inspect_groups(tiny_coupling())
    assert [(one.path, one.operator, one.reads, one.makes, one.groups) for one in found.layers] == [
        ("stem.0", "aten.conv2d.default", 3, 16, ("stem.0",)),
        ("body.0", "aten.conv2d.default", 16, 12, ("body.0",)),
        ("last.0", "aten.conv2d.default", 12, 16, ("stem.0",)),
        ("head", "aten.linear.default", 16, 10, ("head",)),
    ]

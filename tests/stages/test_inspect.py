"""Inspecting says what every group would save, what is locked and why, and cuts nothing."""

from __future__ import annotations

from tiny import tiny_coupling
from torch import nn
from zoo import Net

from edgeprune.core.inspection import GroupRow, Inspection
from edgeprune.core.plan import Cut
from edgeprune.graph.capture import capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.stages.inspect import inspect_groups


def row(found: Inspection, name: str) -> GroupRow:
    return next(one for one in found.groups if one.id == name)


def test_every_group_has_a_row_with_its_parameters() -> None:
    found = inspect_groups(tiny_coupling())
    assert [(one.id, one.units, one.locked) for one in found.groups] == [
        ("stem.0", 16, ""),
        ("body.0", 12, ""),
        ("head", 10, "the network's output (output)"),
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
    assert (found.input, found.graph) == ((3, 16, 16), tiny_coupling().program.fingerprint())


def test_a_locked_group_names_operator_line_and_way_out() -> None:
    net = Net(
        lambda net, x: net.head(net.body(x).logcumsumexp(1)), body=nn.Conv2d(3, 4, 1), head=nn.Conv2d(4, 2, 1)
    )
    locked = row(inspect_groups(couple(capture(net.eval(), (3, 8, 8)))), "body")
    assert locked.locked.startswith("read by an operator without a rule (aten.")
    assert ", zoo.py:" in locked.locked
    assert locked.hint == "edgeprune does not know how channels pass through it"

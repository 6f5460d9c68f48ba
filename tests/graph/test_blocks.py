"""Blocks: residual branches that may go altogether."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, conv_bn, pooled

from edgeprune.core.plan import Cut
from edgeprune.graph.blocks import find_blocks
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.check import prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.graph.narrowing import dropped
from edgeprune.graph.surgery import shrink
from graph.labels import situation


def branch(inner: int = 5, channels: int = 6) -> nn.Sequential:
    return nn.Sequential(conv_bn(channels, inner), nn.Conv2d(inner, channels, 1))


def program(wiring: Any, **parts: nn.Module | Tensor) -> Program:
    """A stem of six channels, the wiring, and a head of two outputs."""

    def whole(net: Net, x: Tensor) -> Tensor:
        return net.head(pooled(wiring(net, net.stem(x))))

    torch.manual_seed(0)
    return capture(Net(whole, stem=conv_bn(3, 6), head=nn.Linear(6, 2), **parts).eval(), (3, 6, 6))


def found(wiring: Any, **parts: nn.Module | Tensor) -> list[str]:
    return [block.name for block in find_blocks(program(wiring, **parts))]


@pytest.mark.parametrize(
    "wiring",
    [
        lambda net, x: x + net.one(x),
        lambda net, x: net.one(x) + x,
        lambda net, x: F.relu(net.one(x) + x),
        lambda net, x: x.add(net.one(x)),
        lambda net, x: x + net.one(x).sigmoid() * net.one(x),
    ],
)
def test_an_identity_plus_a_branch_is_a_block(wiring: Any) -> None:
    assert found(wiring, one=branch()) == ["one"]


def test_members_are_what_nobody_needs_any_more() -> None:
    (block,) = find_blocks(program(lambda net, x: x + net.one(x), one=branch()))

    assert block.tensors == (
        *("one.0.0.weight", "one.0.1.bias", "one.0.1.running_mean", "one.0.1.running_var"),
        *("one.0.1.weight", "one.1.bias", "one.1.weight"),
    )
    assert block.skip not in block.members
    assert block.branch in block.members
    assert {"relu", "conv2d"} <= {
        str(one.target).split(".")[1] for one in block.members if one.op != "get_attr"
    }


@pytest.mark.parametrize(
    "wiring",
    [
        # A projection shortcut: neither side goes on without the other.
        lambda net, x: net.one(x) + net.two(x),
        # The branch is read elsewhere.
        lambda net, x: read_twice(net, x),
        # The branch does not start from what it is added to.
        lambda net, x: x.relu() + net.one(x),
        # Nothing of its own: no parameters to remove.
        lambda net, x: x + x.sigmoid(),
        # A difference and a scaled sum are no identity plus a branch.
        lambda net, x: x - net.one(x),
        lambda net, x: torch.add(x, net.one(x), alpha=2),
        # Broadcast: the sum is larger than the skip or the branch.
        lambda net, x: x + net.one(x).mean((2, 3), keepdim=True),
    ],
)
def test_other_sums_are_no_blocks(wiring: Any) -> None:
    assert found(wiring, one=branch(), two=branch()) == []


def read_twice(net: Net, x: Tensor) -> Tensor:
    inner = net.one(x)
    return (x + inner) * inner.sigmoid()


def test_a_shared_parameter_stays_while_anyone_reads_it() -> None:
    # The inner sum's branch is used again by the outer one, which has both uses to itself.
    (outer,) = find_blocks(program(lambda net, x: net.one(net.one(x) + x) + x, one=branch()))
    assert sum(str(one.target) == "aten.relu.default" for one in outer.members) == 2
    one, tied = branch(), branch()
    tied[1].weight = one[1].weight

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = x + net.one(x)
        return x + net.two(x)

    # The second one goes without the weight, which the first one keeps; the first cannot take it along.
    assert found(wiring, one=one, two=tied) == ["two"]


def test_branches_whose_modules_are_apart_are_blocks() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = x + net.one(x)
        return x + net.two(x)

    assert found(wiring, one=branch(), two=branch()) == ["one", "two"]


def test_chained_branches_are_blocks_one_after_the_other() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        for part in (net.one, net.two, net.three):
            x = x + part(x)
        return x

    assert found(wiring, one=branch(), two=branch(), three=branch()) == ["one", "two", "three"]


def test_nested_branches_are_blocks_inside_a_block() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        inner = net.one(x)
        return x + net.three(inner + net.two(inner))

    names = found(wiring, one=branch(), two=branch(), three=branch())
    assert names[0] == "two"
    assert len(names) == 2

    coupling = couple(program(wiring, one=branch(), two=branch(), three=branch()))
    inner, outer = coupling.groups[-1].names.index("two"), 1
    for kept in ((outer,), (inner,)):
        proven = prove(coupling, (Cut(group="blocks", units=2, kept=kept),))
        assert proven.refused == {}
        assert {name.split(".")[0] for name in proven.program.tensors() if ".weight" in name} == (
            {"stem", "head", "one", "two", "three"}
            - ({"two"} if kept == (outer,) else {"one", "two", "three"})
        )


@pytest.mark.parametrize("kept", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("activated", [True, False])
def test_any_branches_go_alone_and_beside_each_other(kept: tuple[int, ...], activated: bool) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        for part in (net.one, net.two, net.three):
            x = F.relu(x + part(x)) if activated else x + part(x)
        return x

    coupling = couple(program(wiring, one=branch(4), two=branch(5), three=branch(7)))
    cuts = (
        Cut(group="blocks", units=3, kept=kept),
        Cut(group="stem.0", units=6, kept=(0, 2, 5)),
        Cut(group="two.0.0", units=5, kept=(1, 4)),
    )
    proven = prove(coupling, cuts)

    assert proven.refused == {}
    assert proven.cuts == cuts
    names = {name.split(".")[0] for name in proven.program.tensors() if name.endswith("weight")}
    assert names == {"stem", "head", *(("one", "two", "three")[place] for place in kept)}
    again = Program(proven.program.exported().module(check_guards=False), proven.program.inputs)
    assert count(couple(again)) == count(coupling, coupling.narrowed(cuts))


def test_units_are_called_after_their_modules() -> None:
    (group,) = situation("residual_blocks").free("blocks")

    assert (group.id, group.units, group.slices, group.names) == ("blocks", 3, (), ("one", "two", "three"))


def test_branches_of_one_module_have_names_of_their_own() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = x + net.block[0](x)
        return x + net.block[2](F.relu(net.block[1](x)))

    parts = nn.ModuleList([nn.Conv2d(6, 6, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 6, 1)])
    assert found(wiring, block=parts) == ["block.0", "block"]
    bare = [nn.Parameter(torch.randn(6, 1, 1)) for _ in range(2)]
    assert found(lambda net, x: (y := x + x * net.a) + y * net.b, a=bare[0], b=bare[1]) == ["add", "add_1"]


def test_a_single_branch_is_no_group_to_choose_from() -> None:
    coupling = couple(program(lambda net, x: x + net.one(x), one=branch()))

    assert len(coupling.blocks) == 1
    assert coupling.free("blocks") == []


def test_what_a_norm_counts_goes_with_its_branch() -> None:
    coupling = situation("residual_blocks")
    cuts = (Cut(group="blocks", units=3, kept=(1,)),)

    left = [name for name in shrink(coupling, cuts).module.state_dict() if "num_batches_tracked" in name]

    assert left == ["stem.1.num_batches_tracked", "two.0.1.num_batches_tracked"]
    assert "one.0.1.num_batches_tracked" in dropped(coupling, cuts)

"""Lanes: the groups of a grouped convolution lose channels of their own, as many each, and it is exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo import SITUATIONS, Net, conv_bn, lived_in

from edgeprune.core.errors import DocumentError
from edgeprune.core.plan import Cost, Cut, Plan, composed
from edgeprune.graph.arrange import arrange, arranged_for, by_strength, coupled_anew
from edgeprune.graph.capture import capture
from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.give_back import give_back
from edgeprune.graph.lanes import paired
from edgeprune.graph.narrowing import carry_over, narrowings
from edgeprune.graph.surgery import shrink

NOTHING = Cost(parameters=0, macs=0, weight_bytes=0, peak_activation_bytes=0)


def chain(**parts: nn.Module) -> Coupling:
    """Layers one after the other, with a ReLU behind each but the last."""

    def wiring(net: Net, x: torch.Tensor) -> torch.Tensor:
        *most, last = parts
        for name in most:
            x = net.get_submodule(name)(x).relu()
        return net.get_submodule(last)(x)

    return couple(capture(lived_in(Net(wiring, **parts)).eval(), (3, 6, 6)))


def lanes(coupling: Coupling) -> dict[str, tuple[int, int]]:
    """Units and lanes of every group that has some."""
    return {
        group.id: (group.units, coupling.lanes[group.id].count)
        for group in coupling.free()
        if group.id in coupling.lanes
    }


def cut_anywhere(coupling: Coupling, seed: int) -> tuple[Cut, ...]:
    """Random kept units for every free group, other ones in every lane, in any order."""
    random = np.random.default_rng(seed)
    cuts = []
    for group in coupling.free():
        count = int(random.integers(1, group.units + 1))
        number = coupling.lanes[group.id].count if group.id in coupling.lanes else 1
        first, *others = (
            tuple(random.choice(group.units, size=count, replace=False).tolist()) for _ in range(number)
        )
        kept = tuple(sorted(first))
        own = (kept, *others) if number > 1 else ()
        cuts.append(Cut(group=group.id, units=group.units, kept=kept, lanes=own))
    return tuple(cuts)


def one_cut(coupling: Coupling, group: str, *kept: tuple[int, ...]) -> Cut:
    """A cut of one group with these units in each of its lanes."""
    units = next(one.units for one in coupling.groups if one.id == group)
    return Cut(group=group, units=units, kept=kept[0], lanes=kept)


NETWORKS = {
    "resnext": lambda: chain(first=conv_bn(3, 12), deep=conv_bn(12, 8, groups=4), last=nn.Conv2d(8, 4, 1)),
    "stacked": lambda: chain(
        first=conv_bn(3, 12),
        one=conv_bn(12, 12, groups=3),
        two=conv_bn(12, 9, groups=3),
        last=nn.Conv2d(9, 4, 1),
    ),
    "of_other_groups": lambda: chain(
        first=conv_bn(3, 24),
        one=conv_bn(24, 24, groups=2),
        two=conv_bn(24, 16, groups=4),
        last=nn.Conv2d(16, 4, 1),
    ),
    "depthwise_between": lambda: chain(
        first=conv_bn(3, 12),
        deep=conv_bn(12, 12, groups=12),
        one=conv_bn(12, 8, groups=2),
        last=nn.Conv2d(8, 4, 1),
    ),
    "transposed": lambda: SITUATIONS["grouped_transposed_conv"].coupling(),
    "grouped": lambda: SITUATIONS["grouped"].coupling(),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnext", {"first.0": (3, 4), "deep.0": (2, 4)}),
        ("stacked", {"first.0": (4, 3), "one.0": (4, 3), "two.0": (3, 3)}),
        ("of_other_groups", {"first.0": (12, 2), "one.0": (6, 2), "two.0": (4, 4)}),
        ("depthwise_between", {"first.0": (6, 2), "one.0": (4, 2)}),
    ],
)
def test_every_group_of_a_convolution_is_a_lane(name: str, expected: Mapping[str, tuple[int, int]]) -> None:
    assert lanes(NETWORKS[name]()) == expected


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_each_lane_keeps_the_cut_is_exact_and_the_tensors_follow(name: str, seed: int) -> None:
    coupling = NETWORKS[name]()
    cuts = cut_anywhere(coupling, seed)

    proven = prove(coupling, cuts)

    assert proven.refused == {}
    before, after = coupling.program.tensors(), proven.program.tensors()
    for tensor, one in narrowings(coupling, cuts).items():
        assert torch.equal(one.of(before[tensor].detach()), after[tensor].detach())
        assert np.array_equal(one.of(before[tensor].detach().numpy()), after[tensor].detach().numpy())
        back = one.put_back(after[tensor], torch.zeros_like(before[tensor]))
        assert torch.equal(one.of(back), after[tensor].detach())
        assert one.narrow_shape == tuple(after[tensor].shape)


def test_each_lane_really_loses_other_channels() -> None:
    coupling = NETWORKS["resnext"]()

    found = narrowings(coupling, (one_cut(coupling, "first.0", (0,), (1,), (2,), (1,)),))

    assert found["first.0.weight"].kept == {0: (0, 4, 8, 10)}
    assert found["deep.0.weight"].kept == {1: (0,)}
    assert found["deep.0.weight"].blocks == ((0,), (1,), (2,), (1,))


def test_whole_groups_may_go_besides() -> None:
    coupling = NETWORKS["resnext"]()
    (whole,) = (group for group in coupling.free("groups") if group.units == 4)
    cuts = (
        one_cut(coupling, "first.0", (0, 1), (1, 2), (0, 2), (1, 2)),
        one_cut(coupling, "deep.0", (0,), (1,), (1,), (0,)),
        Cut(group=whole.id, units=4, kept=(1, 2)),
    )

    proven = prove(coupling, cuts)

    assert proven.refused == {}
    assert list(proven.program.tensors()["deep.0.weight"].shape[:2]) == [2, 2]
    assert torch.equal(
        narrowings(coupling, cuts)["deep.0.weight"].of(coupling.program.tensors()["deep.0.weight"].detach()),
        proven.program.tensors()["deep.0.weight"].detach(),
    )


def test_groups_that_one_layer_reads_each_move_their_own_columns_of_it() -> None:
    """A slice tells even places from odd ones: two groups, which share the grouped layer's axis 1."""

    def wiring(net: Net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = net.first(x)
        return net.deep(x), net.last(x[:, ::2])

    parts = {"first": nn.Conv2d(3, 8, 1), "deep": nn.Conv2d(8, 4, 1, groups=2), "last": nn.Conv2d(4, 2, 1)}
    coupling = couple(capture(lived_in(Net(wiring, **parts)).eval(), (3, 4, 4)))
    cuts = (one_cut(coupling, "first", (0,), (1,)), one_cut(coupling, "first#2", (1,), (0,)))

    proven = prove(coupling, cuts)

    assert lanes(coupling) == {"first": (2, 2), "first#2": (2, 2)}
    assert proven.refused == {}
    found = narrowings(coupling, cuts)["deep.weight"]
    assert found.blocks == ((0, 3), (2, 1))
    assert torch.equal(
        found.of(coupling.program.tensors()["deep.weight"].detach()),
        proven.program.tensors()["deep.weight"].detach(),
    )


def test_an_arranged_network_answers_alike_and_has_the_same_groups() -> None:
    coupling = NETWORKS["stacked"]()
    orders = by_strength(coupling)
    example = coupling.program.examples(2)

    anew = coupled_anew(coupling, orders, ())

    assert set(orders) == set(coupling.lanes)
    assert [group.id for group in anew.groups] == [group.id for group in coupling.groups]
    moved = anew.program.tensors()["first.0.weight"]
    assert not torch.equal(moved, coupling.program.tensors()["first.0.weight"])
    for first, second in zip(coupling.program.answers(example), anew.program.answers(example), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    assert coupled_anew(coupling, {}, ()) is coupling


def test_the_weakest_of_every_lane_make_one_unit() -> None:
    order = paired(np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))

    # Unit 1 is the weakest of the first lane and takes that of the second, which is 0.
    assert order.tolist() == [[0, 1, 2], [2, 0, 1]]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cut_of_an_arranged_network_is_named_in_the_networks_own_terms(name: str) -> None:
    coupling = NETWORKS[name]()
    # Turned by one place from lane to lane, whatever the weights: by strength lanes may happen to be alike.
    turned = {
        name: np.stack([np.roll(np.arange(order.shape[1]), lane) for lane in range(len(order))])
        for name, order in by_strength(coupling).items()
    }
    arrangement = arrange(coupling, turned, ())
    most = [Cut(group=group.id, units=group.units, kept=(0,)) for group in coupling.free("channels")][1:]

    first = shrink(arrangement.coupling, tuple(most))
    second = shrink(coupling, arrangement.named(most))

    assert any(cut.lanes for cut in arrangement.named(most))
    example = coupling.program.examples(2)
    for one, other in zip(first.answers(example), second.answers(example), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_cut_after_a_cut_takes_what_the_first_left_in_every_lane_and_its_values() -> None:
    """The lanes stay in no order: what stands at one place of them is one unit for good."""
    coupling = NETWORKS["stacked"]()
    first = (
        one_cut(coupling, "one.0", (0, 1, 3), (3, 0, 2), (2, 3, 1)),
        one_cut(coupling, "two.0", (0, 2), (2, 1), (0, 1)),
    )
    left = couple(shrink(coupling, first))
    second = (Cut(group="one.0", units=3, kept=(0, 2)), one_cut(left, "first.0", (0, 3), (1, 2), (2, 0)))

    assert_one_after_the_other(coupling, first, left, second)


def test_a_cut_after_one_that_took_whole_groups_too() -> None:
    coupling = NETWORKS["stacked"]()
    (whole,) = (group for group in coupling.free("groups") if group.units == 3)
    first = (
        one_cut(coupling, "one.0", (0, 1, 3), (3, 0, 2), (2, 3, 1)),
        Cut(group=whole.id, units=3, kept=(0, 2)),
    )
    left = couple(shrink(coupling, first))

    assert lanes(left)["one.0"] == (3, 2)
    assert_one_after_the_other(coupling, first, left, (Cut(group="one.0", units=3, kept=(0, 2)),))


def assert_one_after_the_other(
    coupling: Coupling, first: tuple[Cut, ...], left: Coupling, second: tuple[Cut, ...]
) -> None:
    """Both cuts as one of the original, with the values of what the first left, are the second of that."""
    both = composed(first, second)
    narrow = shrink(coupling, both)
    with torch.no_grad():
        for tensor in narrow.tensors().values():
            tensor.zero_()
    carry_over(left.program, narrow, narrowings(coupling, first), narrowings(coupling, both))

    assert prove(coupling, both).refused == {}
    expected = shrink(left, second).tensors()
    for name, tensor in narrow.tensors().items():
        assert torch.equal(tensor, expected[name]), name


def test_what_tells_the_places_apart_leaves_no_lanes() -> None:
    """A slice across the groups, and a weight for each place that all groups share."""

    def sliced(net: Net, x: torch.Tensor) -> torch.Tensor:
        return net.last(net.deep(net.first(x))[:, ::2])

    def scaled(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.deep(net.first(x)).unflatten(1, (2, 4))
        return net.last((x * net.scale).flatten(1, 2))

    parts = {"first": nn.Conv2d(3, 8, 1), "deep": nn.Conv2d(8, 8, 1, groups=2)}
    read = couple(capture(Net(sliced, **parts, last=nn.Conv2d(4, 2, 1)), (3, 4, 4)))
    told = couple(
        capture(
            Net(scaled, **parts, last=nn.Conv2d(8, 2, 1), scale=nn.Parameter(torch.randn(4, 1, 1))), (3, 4, 4)
        )
    )

    assert lanes(read) == {"first": (4, 2), "deep": (2, 2), "deep#2": (2, 2)}
    assert lanes(told) == {"first": (4, 2)}
    for coupling in (read, told):
        assert prove(coupling, cut_anywhere(coupling, 1)).refused == {}


def test_a_wrong_arrangement_is_refused_by_the_proof() -> None:
    """Lanes that rules did not find, forced upon a group: its answers change, so it stays whole."""
    coupling = NETWORKS["resnext"]()
    wrong = coupling.lanes["first.0"]
    blocks = tuple(one[::-1].copy() for one in wrong.blocks)
    object.__setattr__(wrong, "blocks", blocks)

    proven = prove(coupling, (one_cut(coupling, "first.0", (0,), (1,), (2,), (1,)),))

    assert list(proven.refused) == ["first.0"]
    assert "channels that changed places change its answers by" in proven.refused["first.0"]


def test_a_tied_weight_is_moved_once() -> None:
    def wiring(net: Net, x: torch.Tensor) -> torch.Tensor:
        x = net.first(x)
        return net.last(F.relu(net.one(x)) + F.relu(net.two(x)))

    one, two = nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1, groups=2)
    two.weight = one.weight
    net = Net(wiring, first=nn.Conv2d(3, 8, 1), one=one, two=two, last=nn.Conv2d(8, 2, 1))
    coupling = couple(capture(net, (3, 4, 4)))

    assert prove(coupling, cut_anywhere(coupling, 0)).refused == {}
    assert arranged_for(coupling, ()) is coupling


def test_lanes_that_a_group_has_not_are_an_error() -> None:
    coupling = NETWORKS["resnext"]()

    with pytest.raises(DocumentError) as caught:
        coupling.kept((one_cut(coupling, "first.0", (0,), (1,)),))

    assert str(caught.value).startswith(
        "plan: group 'first.0' keeps channels of its own in 2 lanes, it has 4 in this network"
    )


class Next(nn.Module):
    """A class whose forward names no size, so that it can be given back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep, self.last = conv_bn(3, 12), conv_bn(12, 8, groups=4), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.deep(self.first(x)))
        return answer


def test_a_state_an_optimiser_and_the_class_follow_lanes_of_their_own() -> None:
    module = lived_in(Next()).eval()
    coupling = couple(capture(module, (3, 6, 6)))
    cuts = (
        one_cut(coupling, "first.0", (0, 1), (1, 2), (0, 2), (1, 2)),
        one_cut(coupling, "deep.0", (0,), (1,), (1,), (0,)),
    )
    plan = Plan(
        graph=coupling.program.fingerprint(),
        criterion="test",
        budget="",
        seed=0,
        before=NOTHING,
        after=NOTHING,
        cuts=cuts,
        tensors=narrowings(coupling, cuts),
    )
    momentum = torch.optim.SGD(module.named_parameters(), lr=0.1, momentum=0.9)
    sum(one.square().sum() for one in module.parameters()).backward()  # type: ignore[union-attr]
    momentum.step()

    shrunk = shrink(couple(capture(module, (3, 6, 6))), cuts)
    narrow = give_back(module, couple(capture(module, (3, 6, 6))).program, shrunk, plan)

    state = plan.apply_to_state(module.state_dict())
    for name, value in narrow.state_dict().items():
        assert torch.equal(value, state[name]), name
    restored = plan.restore_state(state, module.state_dict())
    assert all(torch.equal(restored[name], value) for name, value in module.state_dict().items())
    buffers = plan.apply_to_optimizer(momentum.state_dict())["state"]
    gradients = plan.apply_to_state(
        {**module.state_dict(), **{n: p.grad for n, p in module.named_parameters()}}
    )
    for place, (name, _) in enumerate(module.named_parameters()):
        assert torch.equal(buffers[place]["momentum_buffer"], gradients[name]), name

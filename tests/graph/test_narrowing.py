"""What stays of every tensor is what surgery leaves of it."""

from __future__ import annotations

import pytest
import torch
from tiny import coupled, halved
from torch import Tensor, nn
from zoo import SITUATIONS, conv_bn, pooled

from edgeprune.core.errors import GateError
from edgeprune.core.plan import Cut, composed
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple
from edgeprune.graph.narrowing import carry_over, dropped, narrowings
from edgeprune.graph.surgery import shrink


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_narrowings_give_the_shrunk_programs_tensors(name: str) -> None:
    _, shrunk, plan = halved(name)
    original, expected = coupled(name).program.tensors(), shrunk.tensors()
    stay = {key: tensor for key, tensor in original.items() if key not in plan.dropped}
    for key, tensor in stay.items():
        narrow = plan.tensors[key].of(tensor) if key in plan.tensors else tensor
        assert torch.equal(narrow, expected[key])
    changed = {key for key, tensor in stay.items() if tensor.shape != expected[key].shape}
    assert set(plan.tensors) == changed
    assert not expected.keys() & set(plan.dropped)


def test_tensors_of_a_branch_that_goes_are_dropped_and_not_narrowed() -> None:
    coupling = coupled("residual_blocks")
    cuts = (
        Cut(group="blocks", units=3, kept=(1, 2)),
        Cut(group="one.0.0", units=6, kept=(0,)),
        Cut(group="two.0.0", units=5, kept=(0,)),
    )

    gone = dropped(coupling, cuts)

    one = {name for name in coupling.program.tensors() if name.startswith("one.")}
    assert set(gone) == one
    assert "one.0.1.num_batches_tracked" in one
    assert not narrowings(coupling, cuts).keys() & set(gone)
    assert narrowings(coupling, cuts)["two.0.0.weight"].kept == {0: (0,)}
    assert dropped(coupling, cuts[1:]) == ()


def test_no_cut_narrows_nothing() -> None:
    assert narrowings(coupled("residual_add"), ()) == {}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv_bn(3, 4)
        self.register_buffer("shift", torch.randn(4, 1, 1), persistent=False)
        self.register_buffer("gain", torch.randn(4, 1, 1))
        self.plain = torch.randn(4, 1, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(pooled((self.body(x) * self.gain + self.shift) * self.plain))


def test_what_no_state_dict_holds_is_told_apart() -> None:
    coupling = couple(capture(Scaled(), (3, 8, 8)))
    found = narrowings(coupling, (Cut(group="body.0", units=4, kept=(0, 2)),))
    assert {name: found[name].persistent for name in ("gain", "shift", "plain")} == {
        "gain": True,
        "shift": False,
        "plain": False,
    }
    assert found["head.weight"].kept == {1: (0, 2)}


def two_cuts() -> tuple[tuple[Cut, ...], tuple[Cut, ...]]:
    first = (Cut(group="stem.0", units=16, kept=tuple(range(0, 16, 2))),)
    second = (
        Cut(group="stem.0", units=8, kept=(1, 2, 5)),
        Cut(group="body.0", units=12, kept=(0, 7, 11)),
    )
    return first, composed(first, second)


def test_the_values_of_a_wider_network_are_carried_over_to_their_places() -> None:
    coupling = coupled("residual_add")
    first, both = two_cuts()
    wider, narrower, expected = shrink(coupling, first), shrink(coupling, both), shrink(coupling, both)
    with torch.no_grad():
        for tensor in wider.tensors().values():
            if tensor.is_floating_point():
                tensor += 1
    carry_over(wider, narrower, narrowings(coupling, first), narrowings(coupling, both))
    for name, tensor in narrower.tensors().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, expected.tensors()[name] + 1)


def test_what_the_wider_network_does_not_have_is_not_made_up() -> None:
    coupling = coupled("residual_add")
    first, both = two_cuts()
    with pytest.raises(GateError) as caught:
        carry_over(
            shrink(coupling, both),
            shrink(coupling, first),
            narrowings(coupling, both),
            narrowings(coupling, first),
        )
    assert caught.value.message.endswith(
        "was cut in one round and cannot stay so beside what the next one cuts"
    )

"""What stays of every tensor is what surgery leaves of it."""

from __future__ import annotations

import pytest
import torch
from tiny import coupled, halved
from torch import Tensor, nn
from zoo import SITUATIONS, conv_bn, pooled

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple
from edgeprune.graph.narrowing import dropped, narrowings


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

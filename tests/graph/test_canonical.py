"""Canonical form: what export leaves open or hidden is written out, and the answers stay."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import Net, conv_bn, lived_in

from edgeprune.graph.capture import Program, capture
from edgeprune.graph.couple import couple
from graph.labels import assert_exact, constants, free


def captured(wiring: Callable[..., Tensor], *size: int, **parts: nn.Module | Tensor) -> Program:
    """The program, which answers like the network: capture itself insists on that to 1e-4 only."""
    torch.manual_seed(0)
    net = lived_in(Net(wiring, **parts)).eval()
    program = capture(net, size)
    inputs = program.example(3, seed=5)
    with torch.no_grad():
        torch.testing.assert_close(program.run(inputs), net(inputs.clone()))
    return program


def operators(program: Program) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("bounds", [slice(0, 2), slice(2, 5), slice(4, None), slice(-3, -1), slice(None)])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_slice_that_is_changed_in_place_is_joined_with_the_rest(bounds: slice, axis: int) -> None:
    place = (slice(None),) * axis + (bounds,)

    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x).clone()
        x[place].mul_(3.0)
        return net.last(F.relu(x))

    program = captured(wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))

    assert "aten.mul_.Tensor" not in operators(program)
    assert_exact(couple(program))


def test_a_slice_that_is_changed_twice() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x).clone()
        x[:, :4].add_(1.0)
        x[:, 2:].mul_(2.0)
        return net.last(F.relu(x))

    program = captured(wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))

    assert not [name for name in operators(program) if name.split(".")[1].endswith("_")]
    assert_exact(couple(program))


def test_a_view_that_was_taken_before_the_change_shows_it() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x).clone()
        flat = x.flatten(2)
        x[:, :4].add_(1.0)
        return net.last(flat)

    program = captured(wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), last=nn.Conv1d(6, 2, 1))

    assert "aten.add_.Tensor" in operators(program)


def test_who_read_the_slice_before_the_change_keeps_the_old_value() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x).clone()
        before = net.last(x)
        x[:, 1:3].zero_()
        return before + net.last(x)

    captured(wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))


@pytest.mark.parametrize("context", [torch.no_grad, lambda: torch.autocast("cpu", enabled=False)])
def test_parts_under_a_context_of_their_own_are_inlined(context: Callable[[], object]) -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x)
        with context():  # type: ignore[attr-defined]
            shift = net.second(x).mean((2, 3), keepdim=True)
            spread = x.std((2, 3), keepdim=True)
        return net.last(F.relu(x - shift) * spread)

    program = captured(
        wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), second=nn.Conv2d(6, 6, 1), last=nn.Conv2d(6, 2, 1)
    )

    assert {"first.weight", "second.weight"} <= program.tensors().keys()
    assert not [name for name in operators(program) if "wrap" in name]
    coupling = couple(program)
    assert free(coupling) == {"first": 6}
    assert_exact(coupling)


@pytest.mark.parametrize(
    "make", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
@pytest.mark.parametrize(
    "layer", [nn.Conv2d(6, 5, 3), nn.ConvTranspose2d(6, 5, 3), nn.Conv2d(6, 6, 3, groups=6)]
)
def test_a_parametrized_weight_is_stored_under_the_layers_name(
    make: Callable[[nn.Module], nn.Module], layer: nn.Module
) -> None:
    program = captured(
        lambda net, x: net.last(F.relu(net.body(net.first(x)))),
        *(3, 8, 8),
        first=conv_bn(3, 6),
        body=make(copy.deepcopy(layer)),
        last=nn.Conv2d(6 if getattr(layer, "groups", 1) > 1 else 5, 2, 1),
    )

    assert "body.weight" in program.tensors()
    assert not [name for name in program.tensors() if "parametrizations" in name]
    assert isinstance(program.module.get_parameter("body.weight"), nn.Parameter)
    assert_exact(couple(program))


def test_a_weight_that_is_only_viewed_or_masked_stays_the_users_parameter() -> None:
    program = captured(
        lambda net, x: net.last(F.linear(net.first(x), net.weight.t() * net.mask)),
        5,
        first=nn.Linear(5, 6),
        weight=nn.Parameter(torch.randn(6, 4)),
        mask=torch.rand(4, 1),
        last=nn.Linear(4, 2),
    )

    assert {"weight", "mask"} <= program.tensors().keys()
    assert_exact(couple(program))


def test_a_standardised_weight_keeps_the_users_name_for_the_users_tensor() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        weight = net.body.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.std((1, 2, 3), keepdim=True)
        return net.last(F.conv2d(net.first(x), weight) + net.body(net.first(x)).mean())

    program = captured(
        wiring, 3, 6, 6, first=nn.Conv2d(3, 6, 1), body=nn.Conv2d(6, 4, 3), last=nn.Conv2d(4, 2, 1)
    )

    assert {"body.weight", "body.weight_folded"} <= program.tensors().keys()
    assert not torch.equal(program.tensors()["body.weight"], program.tensors()["body.weight_folded"])
    assert_exact(couple(program))


def test_a_folded_weight_of_a_layer_used_twice_is_stored_once() -> None:
    program = captured(
        lambda net, x: net.last(net.body(F.relu(net.body(net.first(x))))),
        *(3, 8, 8),
        first=nn.Conv2d(3, 6, 1),
        body=nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 3)),
        last=nn.Conv2d(6, 2, 1),
    )

    assert [name for name in program.tensors() if name.startswith("body.weight")] == ["body.weight"]
    assert free(couple(program)) == {"first": 6}
    assert_exact(couple(program))


def test_the_epsilon_of_an_rms_norm_is_written_out() -> None:
    program = captured(
        lambda net, x: net.last(net.norm(x) + net.other(x)),
        6,
        norm=nn.RMSNorm(6),
        other=nn.RMSNorm(6, eps=0.25),
        last=nn.Linear(6, 2),
    )

    # Without a number it would be that of double precision inside the proof.
    epsilons = [one[-1] for one in constants(program.module, "aten.rms_norm.default")]
    assert epsilons == [torch.finfo(torch.float32).eps, 0.25]

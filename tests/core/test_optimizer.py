"""Optimiser states follow a plan: momentum stays with its channel, and training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from tiny import halved
from torch import Tensor, nn

from core.test_state import refused
from edgeprune.graph.capture import Program

Make = Callable[[Iterable[Any]], torch.optim.Optimizer]
OPTIMISERS: dict[str, Make] = {
    "sgd": lambda given: torch.optim.SGD(given, lr=0.1),
    "momentum": lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda given: torch.optim.Adam(given, lr=0.01),
    "adamw_amsgrad": lambda given: torch.optim.AdamW(given, lr=0.01, amsgrad=True),
    "rmsprop": lambda given: torch.optim.RMSprop(given, lr=0.01, centered=True, momentum=0.5),
}


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def narrow_parameters(shrunk: Program, order: list[str]) -> list[nn.Parameter]:
    """The shrunk program's parameters in the order of the user's module."""
    held = dict(shrunk.module.named_parameters(remove_duplicate=False))
    return [held[name] for name in order]


def step(module: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int) -> None:
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    module(inputs).square().mean().backward()
    optimizer.step()


@pytest.fixture(params=OPTIMISERS)
def make(request: pytest.FixtureRequest) -> Make:
    return OPTIMISERS[request.param]


def by_hand(name: str, tensor: Tensor) -> Tensor:
    """residual_add with every second unit of both groups, narrowed by what one knows of the network."""
    outer, inner = slice(1, None, 2), slice(1, None, 2)
    if name == "stem.0.weight":
        return tensor[outer]
    if name == "body.0.weight":
        return tensor[inner][:, outer]
    if name == "last.0.weight":
        return tensor[outer][:, inner]
    if name == "head.weight":
        return tensor[:, outer]
    return tensor if name == "head.bias" else tensor[1::2]


def test_training_goes_on_where_it_was(make: Make) -> None:
    module, shrunk, plan = halved()
    optimizer = make(module.parameters())
    for seed in range(2):
        step(module, optimizer, seed=seed)

    state = plan.apply_to_optimizer(optimizer.state_dict(), names(module))

    for index, name in enumerate(names(module)):
        for key, value in optimizer.state_dict()["state"].get(index, {}).items():
            found = state["state"][index][key]
            if isinstance(value, Tensor) and value.ndim:
                assert torch.equal(found, by_hand(name, value)), f"{key} of {name}"
            else:
                assert found == value
    assert state["param_groups"] == optimizer.state_dict()["param_groups"]
    parameters = narrow_parameters(shrunk, names(module))
    narrow = make(parameters)
    narrow.load_state_dict(state)
    before = [one.detach().clone() for one in parameters]
    step(shrunk.module, narrow, seed=2)
    assert all(not torch.equal(one, old) for one, old in zip(parameters, before, strict=True))


def test_the_argument_is_left_as_it_was() -> None:
    module, _, plan = halved()
    optimizer = OPTIMISERS["adam"](module.parameters())
    step(module, optimizer, seed=0)
    state = optimizer.state_dict()
    kept = {key: value.clone() for key, value in state["state"][0].items()}
    narrow = plan.apply_to_optimizer(state, names(module))
    narrow["state"][0]["exp_avg"].zero_()
    narrow["state"][0]["step"].zero_()
    narrow["param_groups"][0]["lr"] = 7.0
    assert all(torch.equal(state["state"][0][key], value) for key, value in kept.items())
    assert state["param_groups"][0]["lr"] == 0.01


def test_an_optimiser_that_knows_the_names_needs_none() -> None:
    module, _, plan = halved()
    optimizer = torch.optim.AdamW(module.named_parameters(), lr=0.01)
    step(module, optimizer, seed=0)
    narrow = plan.apply_to_optimizer(optimizer.state_dict())
    assert narrow["param_groups"][0]["param_names"] == names(module)
    assert narrow["state"][0]["exp_avg"].shape == (8, 3, 3, 3)


def test_groups_keep_their_settings_and_dropped_parameters_leave() -> None:
    module, _, plan = halved()
    plan = plan.model_copy(
        update={
            "dropped": ("last.0.weight",),
            "tensors": {name: one for name, one in plan.tensors.items() if name != "last.0.weight"},
        }
    )
    weights = [(n, p) for n, p in module.named_parameters() if p.ndim > 1]
    rest = [(n, p) for n, p in module.named_parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": [p for _, p in weights], "lr": 0.5}, {"params": [p for _, p in rest]}],
        lr=0.1,
        momentum=0.9,
    )
    step(module, optimizer, seed=0)
    order = [name for name, _ in (*weights, *rest)]
    assert order[2] == "last.0.weight"

    narrow = plan.apply_to_optimizer(optimizer.state_dict(), order)

    first, second = narrow["param_groups"]
    assert (first["lr"], first["params"]) == (0.5, [0, 1, 2])
    assert (second["lr"], second["params"]) == (0.1, [*range(3, 3 + len(rest))])
    assert set(narrow["state"]) == {*range(3 + len(rest))}
    assert narrow["state"][2]["momentum_buffer"].shape == (10, 8), "head.weight moved up"


def test_what_cannot_follow_is_refused() -> None:
    module, _, plan = halved()
    optimizer = OPTIMISERS["momentum"](module.parameters())
    step(module, optimizer, seed=0)
    state, order = optimizer.state_dict(), names(module)
    apply = plan.apply_to_optimizer

    assert refused(apply, module.state_dict(), order) == (
        f"not an optimiser's state: its keys are {', '.join(module.state_dict())}",
        "give what optimizer.state_dict() returns",
    )
    assert refused(apply, state) == (
        "the optimiser's state does not name its parameters",
        "give their names in its order: [name for name, _ in module.named_parameters()]",
    )
    assert refused(apply, state, order[1:]) == (
        "the optimiser has 11 parameters, 10 names were given",
        "name exactly the parameters it was built with, in their order",
    )
    assert refused(apply, state, [f"module.{name}" for name in order]) == (
        "the names begin with 'module.', those of the plan do not",
        "give prefix='module.'",
    )
    assert refused(apply, state, order[::-1]) == (
        "the optimiser's 'momentum_buffer' of 'head.weight' has shape 16, the parameter 10x16",
        "only what has the parameter's own shape can be narrowed; start this optimiser anew",
    )
    assert refused(apply, apply(state, order), order) == (
        "the optimiser's 'momentum_buffer' of 'stem.0.weight' has shape 8x3x3x3, the parameter 16x3x3x3",
        "it was narrowed already",
    )


def test_an_optimiser_of_flat_vectors_is_refused() -> None:
    module, _, plan = halved()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=2)
    inputs = torch.randn(4, 3, 16, 16)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = module(inputs).square().mean()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    message, hint = refused(plan.apply_to_optimizer, optimizer.state_dict(), names(module))
    assert message.startswith("the optimiser's 'd' of 'stem.0.weight' has shape ")
    assert hint == "only what has the parameter's own shape can be narrowed; start this optimiser anew"

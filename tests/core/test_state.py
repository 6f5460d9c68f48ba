"""State dicts follow a plan: narrow copies, ties, EMA copies, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import halved
from torch import Tensor
from zoo import SITUATIONS

from edgeprune.core.errors import DocumentError, RequestError


def same(one: object, other: object) -> bool:
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    return one.dtype == other.dtype and torch.equal(one, other)


def refused(action: object, *arguments: object, **options: object) -> tuple[str, str]:
    assert callable(action)
    with pytest.raises(RequestError) as caught:
        action(*arguments, **options)
    return caught.value.message, caught.value.hint


COMPUTED = {
    "weight_norm": ("1.weight", "1.parametrizations.weight.original0"),
    "weight_standardisation": ("body.weight_folded", "body.weight"),
}
"""Situations whose captured program stores a weight that the network computes, and what from."""


@pytest.mark.parametrize("situation", [name for name in SITUATIONS if name not in COMPUTED])
def test_a_state_dict_becomes_what_surgery_makes(situation: str) -> None:
    module, shrunk, plan = halved(situation)
    state = module.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    narrow = plan.apply_to_state(state)
    expected = shrunk.tensors()
    assert list(narrow) == [name for name in state if name not in plan.dropped]
    assert all(same(narrow[name], expected[name].detach()) for name in narrow)
    assert all(same(state[name], before[name]) for name in state), "the argument is as it was"
    assert all(one.is_contiguous() for one in narrow.values())


@pytest.mark.parametrize("situation", COMPUTED)
def test_a_weight_that_the_network_computes_is_in_no_state_and_said_to_be(situation: str) -> None:
    module, shrunk, plan = halved(situation)
    weight, source = COMPUTED[situation]
    said = (
        f"'{weight}' is computed from '{source}' (a parametrization, or the forward); "
        "the plan narrows the computed weight",
        "go on with model.pt2, which stores it; or store it in the network before it is pruned "
        "(torch.nn.utils.parametrize.remove_parametrizations)",
    )
    assert refused(plan.apply_to_state, module.state_dict()) == said
    assert refused(plan.restore_state, shrunk.module.state_dict(), module.state_dict()) == said
    optimizer = torch.optim.Adam(module.named_parameters())
    assert refused(plan.apply_to_optimizer, optimizer.state_dict()) == said


def test_a_state_without_parametrizations_is_narrowed() -> None:
    module, shrunk, plan = halved("weight_norm")
    torch.nn.utils.parametrize.remove_parametrizations(module[1], "weight")

    narrow = plan.apply_to_state(module.state_dict())

    assert all(
        torch.allclose(one, shrunk.tensors()[name]) for name, one in narrow.items() if one.is_floating_point()
    )


def test_arrays_are_narrowed_like_tensors() -> None:
    module, _, plan = halved()
    arrays = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    narrow = plan.apply_to_state(arrays)
    expected = plan.apply_to_state(module.state_dict())
    assert all(isinstance(one, np.ndarray) for one in narrow.values())
    assert all((narrow[name] == expected[name].numpy()).all() for name in expected)


def test_nothing_shares_memory_with_the_argument() -> None:
    module, _, plan = halved()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    narrow = plan.apply_to_state(state)
    before = {name: tensor.clone() for name, tensor in narrow.items()}
    for tensor in state.values():
        tensor.zero_()
    assert all(same(narrow[name], before[name]) for name in narrow)


def test_tied_entries_stay_tied() -> None:
    module, _, plan = halved("tied_linear")
    narrow = plan.apply_to_state(module.state_dict())
    assert narrow["first.weight"] is narrow["second.weight"]
    assert narrow["first.weight"].shape == (6, 6)
    twin = {**module.state_dict(), "a.name.no.plan.knows": module.state_dict()["first.weight"]}
    assert plan.apply_to_state(twin)["a.name.no.plan.knows"].shape == (6, 6)


def test_an_ema_copy_is_narrowed_under_its_prefix() -> None:
    module, _, plan = halved()
    average = torch.optim.swa_utils.AveragedModel(module, use_buffers=True)
    average.update_parameters(module)
    narrow = plan.apply_to_state(average.state_dict(), prefix="module.")
    expected = plan.apply_to_state(module.state_dict())
    assert int(narrow.pop("n_averaged")) == 1
    assert {name.removeprefix("module."): tuple(one.shape) for name, one in narrow.items()} == {
        name: tuple(one.shape) for name, one in expected.items()
    }


def test_a_wrapped_state_without_its_prefix_is_refused() -> None:
    module, _, plan = halved()
    wrapped = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    assert refused(plan.apply_to_state, wrapped) == (
        "the names begin with 'module.', those of the plan do not",
        "give prefix='module.'",
    )


def test_unknown_entries_pass_unchanged() -> None:
    module, _, plan = halved()
    state = {**module.state_dict(), "epoch": 3, "extra": {"a": [1]}, "own": torch.ones(2)}
    narrow = plan.apply_to_state(state)
    assert (narrow["epoch"], narrow["extra"]) == (3, {"a": [1]})
    assert narrow["own"].tolist() == [1, 1]
    assert narrow["own"] is not state["own"]


def test_dropped_tensors_leave_and_come_back_as_they_were() -> None:
    module, _, plan = halved()
    state = module.state_dict()
    gone = plan.model_copy(
        update={
            "dropped": ("last.0.weight",),
            "tensors": {name: one for name, one in plan.tensors.items() if name != "last.0.weight"},
        }
    )
    narrow = gone.apply_to_state(state)
    assert set(state) - set(narrow) == {"last.0.weight"}
    assert same(gone.restore_state(narrow, state)["last.0.weight"], state["last.0.weight"])


def test_a_state_that_was_narrowed_already() -> None:
    module, _, plan = halved()
    narrow = plan.apply_to_state(module.state_dict())
    assert refused(plan.apply_to_state, narrow) == (
        "'stem.0.weight' has shape 8x3x3x3, the plan narrows 16x3x3x3 to 8x3x3x3",
        "it was narrowed already",
    )


def test_a_state_of_another_network() -> None:
    module, _, plan = halved()
    state = {**module.state_dict(), "stem.0.weight": torch.zeros(20, 3, 3, 3)}
    assert refused(plan.apply_to_state, state) == (
        "'stem.0.weight' has shape 20x3x3x3, the plan narrows 16x3x3x3 to 8x3x3x3",
        "the state belongs to another network than the plan",
    )


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        (99, "stem.0.weight"),
        (0, "stem.0.weight, stem.1.weight, stem.1.bias and 13 more"),
    ],
)
def test_a_state_that_lacks_planned_tensors(held: int, missing: str) -> None:
    module, _, plan = halved()
    entries = [pair for pair in module.state_dict().items() if pair[0] != "stem.0.weight"]
    assert refused(plan.apply_to_state, dict(entries[:held])) == (
        f"the state lacks {missing}",
        "it belongs to another network than the plan, or is only a part of it",
    )


def test_a_plan_by_hand_says_how_it_gets_its_tensors() -> None:
    module, _, plan = halved()
    by_hand = plan.model_copy(update={"tensors": {}})
    for use in (
        lambda: by_hand.apply_to_state(module.state_dict()),
        lambda: by_hand.restore_state({}, module.state_dict()),
        lambda: by_hand.apply_to_optimizer({}, []),
    ):
        with pytest.raises(DocumentError) as caught:
            use()
        assert caught.value.message == (
            "plan: says which units stay, but not what that means for each tensor"
        )
        assert caught.value.hint == "`edgeprune apply PLAN MODEL --json` prints the plan with its tensors"


@pytest.mark.parametrize("situation", ["residual_add", "tied_linear", "grouped", "slice_cat"])
def test_what_was_trained_narrow_returns_to_its_places(situation: str) -> None:
    module, shrunk, plan = halved(situation)
    full = module.state_dict()
    trained = {
        name: tensor.detach() + 1 if tensor.is_floating_point() else tensor.detach()
        for name, tensor in shrunk.tensors().items()
    }
    back = plan.restore_state(trained, full)
    again = plan.apply_to_state(back)
    assert list(back) == list(full)
    assert all(same(again[name], trained[name]) for name in again)
    for name, narrowing in plan.tensors.items():
        changed = back[name] != full[name]
        assert int(changed.sum()) == int(np.prod(narrowing.narrow_shape)), "the others keep the full values"


def test_restoring_what_fits_nowhere_is_refused() -> None:
    module, _, plan = halved()
    full = module.state_dict()
    narrow = plan.apply_to_state(full)
    assert refused(plan.restore_state, full, full) == (
        "the narrow state: 'stem.0.weight' has shape 16x3x3x3, the plan leaves 8x3x3x3",
        "it was narrowed by another plan, or not at all",
    )
    assert refused(plan.restore_state, {**narrow, "head.bias": torch.zeros(3)}, full) == (
        "the narrow state: 'head.bias' has shape 3, the plan leaves 10",
        "it was narrowed by another plan, or not at all",
    )
    assert refused(plan.restore_state, {}, full)[0].startswith("the narrow state lacks stem.0.weight, ")
    assert refused(plan.restore_state, narrow, {})[0].startswith("the full state lacks stem.0.weight, ")

"""The user's class at the narrow widths: equal to the shrunk program, or refused with the line to blame."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import coupled, halved
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo import SITUATIONS, Net, conv_bn, pooled

from edgeprune.core.errors import ModelError
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.group import Kind
from edgeprune.core.plan import Cost, Cut, Plan
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.couple import couple
from edgeprune.graph.give_back import give_back, refilled
from edgeprune.graph.narrowing import narrowings
from edgeprune.graph.surgery import shrink

NOTHING = Cost(parameters=0, macs=0, weight_bytes=0, peak_activation_bytes=0)
GO_ON = "go on with model.pt2 instead: it trains, and its parameters keep their names"
REFUSED = {
    "residual_option_a": "the network (Net) fails at zoo.py:*: The size of tensor a (8) must match",
    "broadcast_gate": "the network (Net) fails at zoo.py:*: split_with_sizes expects split_sizes to sum",
    "concat_split": "the network (Net) fails at zoo.py:*: not enough values to unpack (expected 3, got 2)",
    "channel_shuffle": "the network (Net) fails at zoo.py:*: shape '[2, 2, 8, 16, 16]' is invalid",
    "split_constants": "the network (Net) fails at zoo.py:*: split_with_sizes expects split_sizes to sum",
    "slice_cat": "module 'body.0' (Conv2d) fails at zoo.py:*: Given groups=1, weight of size [4, 10, 3, 3]",
    "maxout": "the network (Net) fails at zoo.py:*: shape '[2, 8, 2, 16, 16]' is invalid",
    "constant_pad": "the network (Net) fails at zoo.py:*: The size of tensor a (9) must match",
    "view_constant": "module 'body' (Conv1d) fails at zoo.py:*: Given groups=1, weight of size [6, 8, 3]",
    "flatten_channels_last": "the network (Net) fails at zoo.py:*: shape '[2, 128]' is invalid",
    "functional_conv": "the network (Net) fails at zoo.py:*: Given groups=8, expected weight to be at",
    "weight_norm": "'1.weight' is computed in the module (a parametrization, or its forward), so no narrow*",
    "mha_written_out": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 2, 8]' is invalid",
    "mha_many_heads": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 8, 2]' is invalid",
    "scaled_dot_product": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 2, 8]' is invalid",
    "fused_qkv": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 3, 2, 8]' is invalid",
    "fused_qkv_chunked": "the network (Net) fails at zoo.py:*: unflatten: Provided sizes [2, 8] don't",
    "window_attention": "the network (Net) fails at zoo.py:*: view size is not compatible with input",
    "slice_inplace": "its answers differ from the shrunk program's by *(relative)",
    "rms_norm": "its answers differ from the shrunk program's by *(relative)",
    "rms_norm_written_out": "its answers differ from the shrunk program's by *(relative)",
    "spatial_attention": "its answers differ from the shrunk program's by *(relative)",
    "mean_over_channels": "its answers differ from the shrunk program's by *(relative)",
    "einsum_attention": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 2, 8]' is invalid",
    "batched_heads": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 2, 8]' is invalid",
    "multihead_attention": "module 'mix' (MultiheadAttention) fails at zoo.py:*: was expecting embedding dim",
    "grouped_query_attention": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 4, 4]' is invalid",
    "rearranged": "the network (Net) fails at zoo.py:*: index 5 is out of bounds for dimension 0 with size 3",
    "residual_blocks": "the plan takes out whole blocks, which the class builds: 'one.0.0.weight' is gone*",
    "relative_positions": "the network (Net) fails at zoo.py:*: shape '[-1, 6, 3, 4, 4]' is invalid",
    "weight_standardisation": "'body.weight' is computed in the module (a parametrization, or its forward)*",
}
"""What is written in the forward itself, and how each is found.

A norm or mean over fewer channels divides by fewer; the shrunk program scales back, the class does not.
"""


def planned(
    module: nn.Module, input_size: tuple[int, ...], *kinds: Kind, allow: tuple[str, ...] = ()
) -> tuple[Program, Program, Plan]:
    """The module captured, the same with every second unit gone of groups of some kinds, and the plan."""
    coupling = couple(capture(module, input_size), allow)
    cuts = tuple(
        Cut(group=group.id, units=group.units, kept=tuple(range(1, group.units, 2)))
        for group in coupling.free(*kinds or ("channels",))
    )
    plan = Plan(
        graph=coupling.program.fingerprint(),
        criterion="hand",
        budget="",
        seed=0,
        before=NOTHING,
        after=NOTHING,
        cuts=cuts,
        tensors=narrowings(coupling, cuts),
    )
    return coupling.program, shrink(coupling, cuts), plan


def given(
    module: nn.Module, input_size: tuple[int, ...], *kinds: Kind, allow: tuple[str, ...] = ()
) -> tuple[nn.Module, Program]:
    original, shrunk, plan = planned(module, input_size, *kinds, allow=allow)
    assert plan.cuts
    return give_back(module, original, shrunk, plan), shrunk


def refused(module: nn.Module, input_size: tuple[int, ...]) -> tuple[str, str]:
    with pytest.raises(ModelError) as caught:
        given(module, input_size)
    before, _, reason = caught.value.message.partition("the class cannot be given back: ")
    assert not before
    return reason, caught.value.hint


def assert_equal(narrow: nn.Module, shrunk: Program, dtype: torch.dtype = torch.float32) -> None:
    examples = shrunk.examples(3, seed=7, dtype=dtype)
    single = [one.float() if one.is_floating_point() else one for one in examples]
    with torch.no_grad():
        found = [one.to(torch.float32) for one in tree_leaves(narrow.eval()(*examples))]
    torch.testing.assert_close(found, shrunk.answers(single))


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_situation_is_given_back_or_refused_with_its_line(name: str) -> None:
    module, shrunk, plan = halved(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    original = coupled(name).program
    if name in REFUSED:
        with pytest.raises(ModelError) as caught:
            give_back(module, original, shrunk, plan)
        opening, _, rest = REFUSED[name].partition("*")
        assert caught.value.message.startswith(f"the class cannot be given back: {opening}")
        assert rest in caught.value.message
        assert caught.value.hint == GO_ON
    else:
        narrow = give_back(module, original, shrunk, plan)
        assert type(narrow) is type(module)
        assert {key: tuple(value.shape) for key, value in narrow.state_dict().items()} == {
            key: tuple(value.shape) for key, value in plan.apply_to_state(module.state_dict()).items()
        }
        assert_equal(narrow, shrunk)
    after = module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items()), "the module is untouched"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_torchvision_networks_are_given_back_and_train(name: str) -> None:
    import_torchvision()
    from torchvision.models import get_model

    torch.manual_seed(0)
    module = get_model(name, num_classes=10).train()
    narrow, shrunk = given(module, (3, 64, 64))
    assert all(part.training for part in narrow.modules())
    assert sum(one.numel() for one in narrow.parameters()) < 0.3 * sum(
        one.numel() for one in module.parameters()
    )
    narrow(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(one.grad is not None and one.grad.shape == one.shape for one in narrow.parameters())
    narrow.load_state_dict(shrunk.module.state_dict(), strict=True)
    assert_equal(narrow, shrunk)


class Layers(nn.Module):
    """Every standard layer whose sizes are kept as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 16, 3, groups=8, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 8, 1, groups=2)
        self.slope = nn.PReLU(8)
        self.instance = nn.InstanceNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.wide = nn.Linear(12, 20)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.depthwise(self.stem(x)))
        x = self.up(self.instance(self.slope(self.grouped(x))))
        return self.head(F.relu(self.wide(x.mean((2, 3)))))


def test_the_numbers_beside_the_tensors_follow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        narrow, _ = given(Layers(), (3, 8, 8))

    def of(name: str, *attributes: str) -> list[object]:
        return [getattr(narrow.get_submodule(name), one) for one in attributes]

    assert of("stem", "in_channels", "out_channels", "groups") == [3, 4, 1]
    assert of("depthwise", "in_channels", "out_channels", "groups") == [4, 8, 4]
    assert of("norm", "num_features") == [8]
    assert of("grouped", "in_channels", "out_channels", "groups") == [8, 4, 2]
    assert of("slope", "num_parameters") == [4]
    assert of("instance", "num_features") == [4]
    assert of("up", "in_channels", "out_channels") == [4, 6]
    assert of("wide", "in_features", "out_features") == [6, 10]
    assert of("head", "in_features", "out_features") == [10, 4]


def test_whole_groups_are_fewer_groups_of_convolutions_and_norms() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.GroupNorm(4, 8),
        nn.Conv2d(8, 12, 3, groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 2, groups=4),
        nn.Conv2d(8, 2, 1),
    )
    narrow, shrunk = given(module, (3, 8, 8), "groups")

    assert [narrow[place].groups for place in (2, 4)] == [2, 2]
    assert (narrow[1].num_groups, narrow[1].num_channels) == (2, 4)
    assert (narrow[4].in_channels, narrow[4].out_channels) == (6, 4)
    assert_equal(narrow, shrunk)


def test_recurrent_layers_and_allowed_norms_follow() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Linear(5, 8), nn.LayerNorm(8)
            self.gru = nn.GRU(8, 6, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(self.norm(self.embed(x)))[0])

    narrow, shrunk = given(Reads(), (4, 5), allow=("layer_norm",))

    gru = narrow.get_submodule("gru")
    assert (gru.input_size, gru.hidden_size) == (4, 3)
    assert narrow.get_submodule("norm").normalized_shape == (4,)
    assert_equal(narrow, shrunk)


def test_a_layer_norm_without_a_cut_keeps_its_shape() -> None:
    module = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    narrow, _ = given(module, (6,))
    assert narrow[0].out_features == 6
    assert narrow[3].normalized_shape == (6,)


def test_ties_gradients_and_training_modes_stay() -> None:
    module, shrunk, plan = halved("tied_linear")
    module.get_parameter("stem.0.weight").requires_grad_(False)
    module.train()
    module.get_submodule("stem").eval()
    narrow = give_back(module, coupled("tied_linear").program, shrunk, plan)
    assert narrow.get_parameter("first.weight") is narrow.get_parameter("second.weight")
    assert not narrow.get_parameter("stem.0.weight").requires_grad
    assert narrow.get_parameter("embed.weight").requires_grad
    assert {n: p.training for n, p in narrow.named_modules()} == {
        n: p.training for n, p in module.named_modules()
    }


def test_the_weights_are_those_of_the_program() -> None:
    module, shrunk, plan = halved()
    with torch.no_grad():
        shrunk.tensors()["head.weight"].mul_(2)
    narrow = give_back(module, coupled("residual_add").program, shrunk, plan)
    assert torch.equal(narrow.get_parameter("head.weight"), shrunk.tensors()["head.weight"])
    assert_equal(narrow, shrunk)


def test_weights_of_a_refitted_program_are_taken_over() -> None:
    _, shrunk, plan = halved()
    _, refitted, _ = halved()
    with torch.no_grad():
        refitted.tensors()["head.bias"].add_(1)
    filled = refilled(shrunk, refitted, source="model.pt2")
    assert torch.equal(filled.run(filled.example(2)), refitted.run(filled.example(2)))
    assert plan.cuts
    with pytest.raises(ModelError) as caught:
        refilled(shrunk, coupled("residual_add").program, source="model.pt2")
    assert caught.value.message == (
        "model.pt2: tensor 'stem.0.weight' has shape 16x3x3x3, the plan makes it 8x3x3x3"
    )
    with pytest.raises(ModelError) as caught:
        refilled(shrunk, coupled("prelu").program, source="model.pt2")
    assert caught.value.message == ("model.pt2: tensor 'stem.0.weight' is missing, the plan makes it 8x3x3x3")


def test_half_precision_is_given_back_as_such() -> None:
    module, shrunk, plan = halved()
    narrow = give_back(module.half(), coupled("residual_add").program, shrunk, plan)
    assert {one.dtype for one in narrow.parameters()} == {torch.float16}


def test_a_plan_that_takes_out_blocks() -> None:
    module, shrunk, plan = halved()
    without = plan.model_copy(update={"dropped": ("last.0.weight", "last.1.weight")})
    with pytest.raises(ModelError) as caught:
        give_back(module, coupled("residual_add").program, shrunk, without)
    assert caught.value.message == (
        "the class cannot be given back: the plan takes out whole blocks, which the class builds: "
        "'last.0.weight' is gone"
    )
    assert caught.value.hint == GO_ON


class Scaled(nn.Module):
    """Plain attributes and scratch buffers are cut too: they are tensors of the captured program."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_bn(3, 8)
        self.register_buffer("shift", torch.randn(8, 1, 1), persistent=False)
        self.scale = torch.randn(8, 1, 1)
        self.again = self.body
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(pooled(self.again(x) * self.scale + self.shift))


def test_plain_attributes_scratch_buffers_and_second_names_follow() -> None:
    module = Scaled()
    narrow, shrunk = given(module, (3, 8, 8))
    assert isinstance(narrow, Scaled)
    assert narrow.scale.shape == narrow.shift.shape == (4, 1, 1)
    assert module.scale.shape == (8, 1, 1)
    assert narrow.again is narrow.body
    assert_equal(narrow, shrunk)


class WithAuxiliary(nn.Module):
    """A second head that only runs in training, as GoogLeNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_bn(3, 8)
        self.head, self.auxiliary = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = pooled(self.body(x))
        return self.head(x) + self.auxiliary(x) if self.training else self.head(x)


def test_what_only_runs_in_training_is_tried_too() -> None:
    reason, hint = refused(WithAuxiliary(), (3, 8, 8))
    line = WithAuxiliary.forward.__code__.co_firstlineno + 2
    assert reason == (
        f"in training mode module 'auxiliary' (Linear) fails at test_give_back.py:{line}: "
        "mat1 and mat2 shapes cannot be multiplied (2x4 and 8x4)"
    )
    assert hint == GO_ON


class Uncopyable(nn.Sequential):
    """Holds what cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Uncopyable:
        raise TypeError("cannot pickle 'socket' object")


def test_a_module_that_cannot_be_copied() -> None:
    module = Uncopyable(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6))
    assert refused(module, (6,)) == (
        "the module cannot be copied: cannot pickle 'socket' object",
        GO_ON,
    )


def test_a_weight_that_is_computed_in_a_hook() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls it deprecated, and export warns of the hook
        hooked = nn.utils.weight_norm(nn.Linear(12, 12))
        module = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), hooked, nn.Linear(12, 3)).eval()
        original, shrunk, plan = planned(module, (6,))
    module(torch.randn(2, 6))
    with pytest.raises(ModelError) as caught:
        give_back(module, original, shrunk, plan)
    assert caught.value.message == (
        "the class cannot be given back: module '2' computes its weight in a hook, which cannot be copied"
    )
    assert caught.value.hint == (
        "use torch.nn.utils.parametrizations.weight_norm in place of torch.nn.utils.weight_norm"
    )


def test_a_module_that_is_not_the_captured_one() -> None:
    module, shrunk, plan = halved()
    original = coupled("residual_add").program
    other: Callable[[], nn.Module] = lambda: Net(lambda net, x: x, stem=conv_bn(3, 20))  # noqa: E731
    with pytest.raises(ModelError) as caught:
        give_back(other(), original, shrunk, plan)
    assert caught.value.message == (
        "the class cannot be given back: the module holds no tensor 'stem.0.weight' of the captured shape"
    )
    assert module is not None

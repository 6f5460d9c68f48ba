"""Capture: any network becomes one program with a free batch axis, and is left as it was."""

from __future__ import annotations

import copy
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from zoo import SITUATIONS, Net, conv_bn

from edgeprune.core.errors import ModelError
from edgeprune.graph.capture import Program, capture, from_exported
from edgeprune.graph.input import Input
from edgeprune.graph.nodes import source_of


def small() -> nn.Module:
    return nn.Sequential(conv_bn(3, 4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)).eval()


def operators(program: Program) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_mode_and_weights_of_the_network_stay() -> None:
    module = small().train()
    module[0].eval()
    saved = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]

    capture(module, (3, 8, 8))

    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, saved[name]) for name, value in module.state_dict().items())


def test_the_mode_stays_when_the_capture_fails() -> None:
    module = small().train()

    with pytest.raises(ModelError):
        capture(module, (4, 8, 8))
    assert module.training


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch_size_runs(batch: int) -> None:
    module = SITUATIONS["channel_shuffle"].build()
    program = capture(module, (3, 16, 16))
    inputs = program.example(batch)

    with torch.no_grad():
        torch.testing.assert_close(program.run(inputs), module(inputs))


def test_parameters_keep_their_names() -> None:
    module = SITUATIONS["tied_linear"].build()

    assert set(capture(module, (3, 16, 16)).tensors()) == set(module.state_dict())


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_freed(batch: int) -> None:
    module = SITUATIONS["flatten_channels_last"].build()
    program = from_exported(torch.export.export(module, (torch.zeros(batch, 3, 16, 16),)))
    inputs = program.example(6)

    with torch.no_grad():
        torch.testing.assert_close(program.run(inputs), module(inputs))


def test_a_saved_program_loads_back_equal(tmp_path: Path) -> None:
    program = capture(small(), (3, 8, 8))
    program.save(tmp_path / "net.pt2")

    loaded = from_exported(torch.export.load(tmp_path / "net.pt2"))

    inputs = program.example(3)
    assert torch.equal(loaded.run(inputs), program.run(inputs))
    assert loaded.fingerprint() == program.fingerprint()
    assert list(loaded.tensors()) == list(program.tensors())


def test_a_saved_program_names_no_folder(tmp_path: Path) -> None:
    capture(SITUATIONS["film"].build(), (3, 16, 16)).save(tmp_path / "net.pt2")

    with zipfile.ZipFile(tmp_path / "net.pt2") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for folder in (Path(__file__).parents[2], Path(torch.__file__).parents[1], tmp_path, Path.home()):
        assert str(folder).encode() not in content
    assert b"zoo.py" not in content


def test_the_fingerprint_is_that_of_the_structure() -> None:
    first, second, third = small(), small(), small()
    third[2] = nn.Conv2d(4, 2, 1, stride=2)

    assert capture(first, (3, 8, 8)).fingerprint() == capture(second, (3, 8, 8)).fingerprint()
    assert capture(first, (3, 8, 8)).fingerprint() != capture(third, (3, 8, 8)).fingerprint()


@pytest.mark.parametrize(
    ("parts", "size"),
    [({"last": nn.Conv2d(4, 3, 1)}, (3, 8, 8)), ({}, (3, 9, 9)), ({"act": nn.Hardswish()}, (3, 8, 8))],
)
def test_the_fingerprint_changes_with_widths_sizes_and_operators(
    parts: dict[str, nn.Module], size: tuple[int, ...]
) -> None:
    def build(**changed: nn.Module) -> nn.Module:
        layers = {"first": nn.Conv2d(3, 4, 1), "act": nn.ReLU(), "last": nn.Conv2d(4, 2, 1)} | changed
        return Net(lambda net, x: net.last(net.act(net.first(x))), **layers).eval()

    assert capture(build(), (3, 8, 8)).fingerprint() != capture(build(**parts), size).fingerprint()


def test_sources_name_the_users_line() -> None:
    program = capture(Refuses(lambda x: x.tanh()), (3, 8, 8))
    (node,) = (node for node in program.graph.nodes if str(node.target) == "aten.tanh.default")

    line = test_sources_name_the_users_line.__code__.co_firstlineno + 1
    assert source_of(node) == f"test_capture.py:{line}"
    assert f", line {Refuses.line}, in forward" in node.meta["stack_trace"]


class Divides(nn.Module):
    """Two answers, the second of which is a quotient by zero."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y / (y - y)


class Refuses(nn.Module):
    """A forward that does what it is told, in a line with a known number."""

    def __init__(self, told: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.told = told

    def forward(self, x: Tensor) -> object:
        return self.told(x)

    line = forward.__code__.co_firstlineno + 1


def message(module: nn.Module, size: tuple[int, ...] = (3, 8, 8)) -> str:
    with pytest.raises(ModelError) as caught:
        capture(module, size)
    return caught.value.message


def test_an_input_that_does_not_fit_is_named_with_the_users_line() -> None:
    def told(x: Tensor) -> Tensor:
        return x @ torch.ones(5, 2)

    assert message(Refuses(told)) == (
        f"the network refuses inputs of shape 3x8x8 at test_capture.py:{told.__code__.co_firstlineno + 1}: "
        "mat1 and mat2 shapes cannot be multiplied (48x8 and 5x2)"
    )


def test_control_flow_on_values_is_named_with_the_users_line() -> None:
    def told(x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    assert message(Refuses(told)).startswith(
        f"the network cannot be captured at test_capture.py:{told.__code__.co_firstlineno + 1}: "
    )


def test_a_batch_written_into_the_network_is_refused() -> None:
    assert message(Refuses(lambda x: x.view(2, 3, 64))).startswith("the network cannot be captured at ")


def test_an_answer_without_a_tensor_is_refused() -> None:
    assert message(Refuses(lambda x: {"size": x.shape[1]})) == "the network returns a dict without any tensor"
    assert message(Refuses(lambda x: None)) == "the network returns a NoneType without any tensor"


@dataclass
class Answer:
    """What a network may answer with."""

    logits: Tensor
    more: list[Tensor]


@pytest.mark.parametrize(
    "told",
    [
        lambda x: {"logits": x.mean((2, 3)), "features": x},
        lambda x: (x.mean((2, 3)), x),
        lambda x: [x, x.mean((2, 3)), x * 2],
        lambda x: Answer(x.mean((2, 3)), [x, 2 * x]),
        lambda x: {"nested": ({"deep": x}, [x + 1])},
        lambda x: (x, None, x.sum(1)),
    ],
)
def test_answers_of_any_structure_keep_it(told: Callable[[Tensor], object], tmp_path: Path) -> None:
    module = Refuses(told)
    program = capture(module, (3, 8, 8))
    examples = program.examples(4)
    expected = [one for one in tree_leaves(module(*examples)) if isinstance(one, Tensor)]

    assert program.outputs == len(expected)
    for found, wanted in zip(program.answers(examples), expected, strict=True):
        assert torch.equal(found, wanted)
    answer = program.module(*examples)
    # A dataclass becomes a dictionary of its fields: whoever loads the file may not have the class.
    wanted = module(*examples)
    assert type(answer) is (dict if isinstance(wanted, Answer) else type(wanted))
    if isinstance(wanted, Answer):
        assert list(answer) == ["logits", "more"]
    program.save(tmp_path / "net.pt2")
    again = from_exported(torch.export.load(tmp_path / "net.pt2"))
    for found, wanted in zip(again.answers(examples), expected, strict=True):
        assert torch.equal(found, wanted)


def test_an_output_without_a_batch_is_refused() -> None:
    assert message(Refuses(lambda x: x.mean(0, keepdim=True))) == (
        "the network answers a batch of 2 with shape (1, 3, 8, 8)"
    )


class Two(nn.Module):
    """Words and an image."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.image, self.head = nn.Embedding(7, 4), nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, words: Tensor, image: Tensor) -> Tensor:
        return self.head(self.words(words).sum(1) + self.image(image).mean((2, 3)))


INPUTS = (Input((5,), torch.int64, 7), Input((3, 8, 8)))


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_several_inputs_share_their_batch(batch: int) -> None:
    module = Two()
    program = capture(module, INPUTS)
    words, image = program.examples(batch)

    assert (words.shape, words.dtype) == ((batch, 5), torch.int64)
    assert (image.shape, image.dtype) == ((batch, 3, 8, 8), torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(program.answers([words, image]), [module(words, image)])
    assert program.inputs == INPUTS
    assert program.input_size == (5,)


def test_an_archive_with_several_inputs_knows_them(tmp_path: Path) -> None:
    program = capture(Two(), INPUTS)
    program.save(tmp_path / "net.pt2")

    loaded = from_exported(torch.export.load(tmp_path / "net.pt2"))

    # As many different integers as the table has entries.
    assert loaded.inputs == INPUTS
    assert torch.equal(*(one.answers(program.examples(3))[0] for one in (loaded, program)))
    assert loaded.fingerprint() == program.fingerprint()


def test_inputs_by_keyword_are_inputs_like_others() -> None:
    module = Two()
    batch = torch.export.Dim("batch", min=1)
    examples = {"words": torch.zeros(5, 5, dtype=torch.int64), "image": torch.zeros(5, 3, 8, 8)}
    exported = torch.export.export(
        module, (), kwargs=examples, dynamic_shapes={"words": {0: batch}, "image": {0: batch}}
    )
    program = from_exported(exported)
    words, image = program.examples(2)

    torch.testing.assert_close(program.answers([words, image]), [module(words, image).detach()])
    torch.testing.assert_close(program.module(words=words, image=image), module(words, image))


def test_a_fixed_batch_of_several_inputs_is_freed() -> None:
    module = Two()
    exported = torch.export.export(module, (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 3, 8, 8)))
    program = from_exported(exported)

    examples = program.examples(6)
    torch.testing.assert_close(program.answers(examples), [module(*examples).detach()])


def test_integers_stay_below_their_limit_and_follow_their_seed() -> None:
    one = Input((50,), torch.int64, 3)

    assert set(one.example(4, 0, torch.float64).unique().tolist()) == {0, 1, 2}
    assert torch.equal(one.example(4, 1, torch.float32), one.example(4, 1, torch.float64))
    assert not torch.equal(one.example(4, 1, torch.float32), one.example(4, 2, torch.float32))


def test_the_fingerprint_tells_inputs_apart() -> None:
    def of(size: int) -> str:
        inputs = (Input((3, size, size)), Input((3, 8, 8)))
        return capture(
            Net(lambda net, x, y: net.body(x).mean((2, 3)) + y.mean((2, 3)), body=nn.Conv2d(3, 3, 1)), inputs
        ).fingerprint()

    assert of(8) == of(8)
    assert of(8) != of(9)


def test_shapes_that_do_not_fit_are_listed_in_the_order_of_the_arguments() -> None:
    with pytest.raises(ModelError) as caught:
        capture(Two(), (Input((5,), torch.int64, 7), Input((4, 8, 8))))
    assert caught.value.message.startswith("the network refuses inputs of shape 5, 4x8x8 at ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_by_name(dtype: torch.dtype) -> None:
    module = small()
    module[2].to(dtype)

    assert message(module) == f"2.weight is {str(dtype).removeprefix('torch.')}"


def test_a_buffer_in_half_precision_is_refused_too() -> None:
    net = Net(lambda net, x: x * net.scale, scale=torch.ones(3, 1, 1, dtype=torch.bfloat16))

    assert message(net) == "scale is bfloat16"


def test_tensors_without_values_are_refused() -> None:
    with torch.device("meta"):
        module = small()

    assert message(module) == "0.0.weight is on the meta device: it has no values"


def test_randomness_in_the_forward_is_refused() -> None:
    assert message(Refuses(lambda x: x + torch.rand_like(x))).startswith(
        "the captured program differs from the network by "
    )


@pytest.mark.parametrize("broken", [float("nan"), float("-inf")])
def test_a_network_that_answers_not_a_number_is_refused(broken: float) -> None:
    with pytest.raises(ModelError) as caught:
        capture(Refuses(lambda x: x * broken), (3, 8, 8))
    assert caught.value.message == "the network answers with NaN or infinity to random inputs of 3x8x8"
    assert caught.value.hint == (
        "look for weights that are not finite, a division by zero, or a root or logarithm of what "
        "inputs around zero make negative"
    )


def test_not_a_number_in_one_of_several_answers_is_refused_with_all_inputs() -> None:
    inputs = (Input((3,)), Input((2, 2)))
    with pytest.raises(ModelError) as caught:
        capture(Divides(), inputs)
    assert caught.value.message == "the network answers with NaN or infinity to random inputs of 3, 2x2"


def test_operators_in_place_become_functional() -> None:
    program = capture(SITUATIONS["inplace_relu_residual"].build(), (3, 16, 16))
    (relu,) = (node for node in program.graph.nodes if "relu" in node.name)

    assert str(relu.target) == "aten.relu.default"
    assert len(relu.users) == 2, "the convolution and the sum both read the new value"


def test_a_change_that_shows_through_a_view_is_left_in_place() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.first(x)
        flat = x.flatten(1)
        x.add_(1)
        return net.last(flat)

    net = Net(wiring, first=nn.Conv2d(3, 4, 1), last=nn.Linear(256, 2)).eval()
    program = capture(net, (3, 8, 8))

    assert "aten.add_.Tensor" in operators(program)
    with torch.no_grad():
        torch.testing.assert_close(program.run(program.example(2)), net(program.example(2)))


def test_checks_of_the_traced_type_are_dropped() -> None:
    program = capture(SITUATIONS["casts"].build(), (3, 16, 16))

    assert not [name for name in operators(program) if "assert" in name]


def helped(x: Tensor) -> Tensor:
    return x.tanh()


def test_sources_name_the_line_of_a_function_that_a_forward_calls() -> None:
    program = capture(Refuses(lambda x: helped(x) + 1), (3, 8, 8))
    tanh, add = (node for node in program.graph.nodes if node.op == "call_function")

    assert source_of(tanh) == f"test_capture.py:{helped.__code__.co_firstlineno + 1}"
    assert source_of(add) == f"test_capture.py:{helped.__code__.co_firstlineno + 5}"
    assert (__file__, "test_sources_name_the_line_of_a_function_that_a_forward_calls") not in {
        (file, name)
        for node in (tanh, add)
        for file, name in re.findall(r'File "(.*)", line \d+, in (\w+)', node.meta["stack_trace"])
    }

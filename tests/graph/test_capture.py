"""Capture: any network becomes one program with a free batch axis, and is left as it was."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import SITUATIONS, Net, conv_bn

from edgeprune.core.errors import ModelError
from edgeprune.graph.capture import Program, capture, from_exported
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

    assert source_of(node) == f"test_capture.py:{Refuses.line}"


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


def test_several_outputs_are_refused() -> None:
    assert message(Refuses(lambda x: {"logits": x})) == "the network returns a dict, not one tensor"


def test_an_output_without_a_batch_is_refused() -> None:
    assert message(Refuses(lambda x: x.mean(0, keepdim=True))) == (
        "the network answers a batch of 2 with shape (1, 3, 8, 8)"
    )


def test_several_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    exported = torch.export.export(Two(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    with pytest.raises(ModelError) as caught:
        from_exported(exported)
    assert caught.value.message == "the network takes 2 inputs of shapes [(2, 3), (2, 3)]"


def test_randomness_in_the_forward_is_refused() -> None:
    assert message(Refuses(lambda x: x + torch.rand_like(x))).startswith(
        "the captured program differs from the network by "
    )


def test_a_network_that_answers_not_a_number_is_refused() -> None:
    assert message(Refuses(lambda x: x * float("nan"))) == (
        "the captured program differs from the network by nan (relative)"
    )


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

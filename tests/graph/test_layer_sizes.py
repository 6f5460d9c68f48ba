"""A wide layer that was given narrow tensors becomes the layer one would have built narrow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from zoo import Net

from edgeprune.graph.capture import Program, capture
from edgeprune.graph.layer_sizes import resize

Make = Callable[[bool], nn.Module]


@dataclass(frozen=True)
class Layer:
    """A layer wide (True) or narrow (False), how it is called, and the input of the narrow one."""

    make: Make
    input_size: tuple[int, ...]
    call: Callable[[nn.Module, Tensor], Tensor] = lambda layer, x: layer(x)


def sizes(wide: bool, *pairs: tuple[int, int]) -> list[int]:
    return [pair[0] if wide else pair[1] for pair in pairs]


def first(layer: nn.Module, x: Tensor) -> Tensor:
    answer: Tensor = layer(x)[0]
    return answer


LAYERS: dict[str, Layer] = {
    "conv1d_grouped": Layer(lambda w: nn.Conv1d(*sizes(w, (8, 4), (12, 6)), 3, groups=2), (4, 9)),
    "conv2d_depthwise": Layer(
        lambda w: nn.Conv2d(*sizes(w, (8, 3), (16, 6)), 3, groups=8 if w else 3), (3, 9, 9)
    ),
    "conv3d": Layer(lambda w: nn.Conv3d(*sizes(w, (4, 2), (8, 5)), 3, padding="same"), (2, 5, 5, 5)),
    "transposed": Layer(lambda w: nn.ConvTranspose2d(*sizes(w, (8, 4), (12, 6)), 3, groups=2), (4, 5, 5)),
    "linear": Layer(lambda w: nn.Linear(*sizes(w, (8, 4), (12, 6)), bias=False), (4,)),
    "bilinear": Layer(
        lambda w: nn.Bilinear(*sizes(w, (8, 4), (6, 2), (5, 3))), (6,), lambda f, x: f(x[:, :4], x[:, 4:])
    ),
    "batch_norm": Layer(lambda w: nn.BatchNorm2d(*sizes(w, (8, 4))), (4, 5, 5)),
    "batch_norm_plain": Layer(lambda w: nn.BatchNorm2d(*sizes(w, (8, 4)), affine=False), (4, 5, 5)),
    "instance_norm": Layer(lambda w: nn.InstanceNorm2d(*sizes(w, (8, 4))), (4, 5, 5)),
    "layer_norm": Layer(lambda w: nn.LayerNorm(*sizes(w, (8, 4))), (3, 4)),
    "layer_norm_plain": Layer(
        lambda w: nn.LayerNorm((3, 8 if w else 4), elementwise_affine=False), (2, 3, 4)
    ),
    "rms_norm": Layer(lambda w: nn.RMSNorm(*sizes(w, (8, 4))), (3, 4)),
    "group_norm": Layer(lambda w: nn.GroupNorm(*sizes(w, (4, 2), (8, 4))), (4, 5, 5)),
    "group_norm_plain": Layer(lambda w: nn.GroupNorm(*sizes(w, (4, 2), (8, 4)), affine=False), (4, 5, 5)),
    "prelu": Layer(lambda w: nn.PReLU(*sizes(w, (8, 4))), (4, 5, 5)),
    "embedding": Layer(
        lambda w: nn.Embedding(3, *sizes(w, (8, 4))), (3, 4), lambda f, x: x + f(torch.arange(3))
    ),
    "unflatten": Layer(lambda w: nn.Unflatten(1, (2, *sizes(w, (8, 4)))), (8,)),
    "attention": Layer(
        lambda w: nn.MultiheadAttention(*sizes(w, (16, 8), (4, 2)), batch_first=True),
        (3, 8),
        lambda f, x: f(x, x, x)[0],
    ),
    "attention_of_other_widths": Layer(
        lambda w: nn.MultiheadAttention(*sizes(w, (16, 8), (4, 2)), kdim=6, vdim=5, batch_first=True),
        (3, 8),
        lambda f, x: f(x, x[..., :6], x[..., :5])[0],
    ),
    "lstm": Layer(
        lambda w: nn.LSTM(*sizes(w, (8, 4), (12, 6)), num_layers=2, batch_first=True), (3, 4), first
    ),
    "lstm_projected": Layer(
        lambda w: nn.LSTM(*sizes(w, (8, 4), (12, 6)), proj_size=5 if w else 3, batch_first=True),
        (3, 4),
        first,
    ),
    "gru": Layer(lambda w: nn.GRU(*sizes(w, (8, 4), (12, 6)), batch_first=True), (3, 4), first),
    "rnn": Layer(lambda w: nn.RNN(*sizes(w, (8, 4), (12, 6)), batch_first=True), (3, 4), first),
    "gru_cell": Layer(lambda w: nn.GRUCell(*sizes(w, (8, 4), (12, 6))), (4,)),
}


def network(layer: Layer, *, wide: bool) -> nn.Module:
    torch.manual_seed(1 if wide else 0)
    return Net(lambda net, x: layer.call(net.layer, x), layer=layer.make(wide)).eval()


def captured(layer: Layer) -> tuple[nn.Module, Program]:
    narrow = network(layer, wide=False)
    return narrow, capture(narrow, layer.input_size)


def numbers(module: nn.Module) -> dict[str, object]:
    """Everything a module keeps as a number, a text or a tuple of them."""
    plain = (bool, int, float, str, tuple)
    return {
        f"{name}.{key}": value
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, plain)
    }


# Export warns of the list in which recurrent layers hold their weights a second time, oneDNN of projections.
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.filterwarnings("ignore:The tensor attribute:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_resized_layer_is_the_one_built_narrow(name: str) -> None:
    layer = LAYERS[name]
    narrow, program = captured(layer)
    wide = network(layer, wide=True)
    assert numbers(wide) != numbers(narrow), "nothing would be tested"
    for tensors in (dict(wide.named_parameters()), dict(wide.named_buffers())):
        for key, tensor in tensors.items():
            tensor.data = program.tensors()[key].detach().clone()

    resize(wide, program)

    assert numbers(wide) == numbers(narrow)
    inputs = program.example(2)
    with torch.no_grad():
        torch.testing.assert_close(wide(inputs), narrow(inputs))


def test_a_layer_that_is_called_twice_follows_once() -> None:
    def make(width: int) -> nn.Module:
        return Net(lambda net, x: net.layer(net.layer(x)), layer=nn.Conv2d(width, width, 1, groups=width))

    narrow, wide = make(3).eval(), make(8).eval()
    for key, tensor in wide.named_parameters():
        tensor.data = narrow.get_parameter(key).data.clone()
    resize(wide, capture(narrow, (3, 4, 4)))
    assert numbers(wide) == numbers(narrow)

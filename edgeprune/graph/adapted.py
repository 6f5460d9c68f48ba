"""Adapted: the same network, fed and answering as a device likes it: 8-bit frames in, classes out."""

from __future__ import annotations

from collections.abc import Sequence
from operator import getitem

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph import CodeGen

from edgeprune.core.alike import are_scores
from edgeprune.core.errors import ModelError
from edgeprune.core.interface import TOP, Interface
from edgeprune.core.recipe import Preprocess
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.input import Input
from edgeprune.graph.nodes import argument, attribute, operator_name

_ATEN = torch.ops.aten
_LEVELS = 256
_MEAN, _FACTOR, _BIAS = "camera_mean", "camera_factor", "camera_bias"


def adapted(program: Program, interface: Interface, preprocess: Preprocess) -> Program:
    """The network with what the interface asks for inside; the program itself where that is nothing.

    Normalisation goes into the first convolution where that is exact. Its factor always is. The mean is
    not where the convolution pads: padding is zero after the mean was taken off, so it is taken off before.

    Raises
    ------
    ModelError
        The network takes no images, or answers with something else than one score per class.
    """
    if interface.plain:
        return program
    if interface.takes_images and (len(program.inputs) > 1 or len(program.input_size) != 3):
        raise ModelError(
            "the network takes no images of channels x height x width",
            hint="leave --camera and --layout out",
        )
    module = rebuild(program, {name: tensor.detach().clone() for name, tensor in program.tensors().items()})
    module.graph.set_codegen(CodeGen())
    if interface.camera:
        _take_frames(module, preprocess, program.input_size[0], last=interface.layout == "nhwc")
    if interface.layout == "nhwc":
        _take_channels_last(module.graph)
    if interface.answer != "scores":
        _answer(module.graph, interface, _classes(program))
    module.graph.lint()
    module.recompile()
    return Program(module, (_input(program, interface),))


def _input(program: Program, interface: Interface) -> Input:
    size = program.input_size
    size = (*size[1:], size[0]) if interface.layout == "nhwc" else size
    return Input(size, torch.uint8, _LEVELS) if interface.camera else Input(size)


def _classes(program: Program) -> int:
    answered = tuple(program.run(program.example(1)).shape)
    if not are_scores(answered):
        raise ModelError(
            f"the network answers with shape {answered}, not one score per class",
            hint="leave --answer out",
        )
    return answered[1]


# What goes in


def _take_frames(module: GraphModule, preprocess: Preprocess, channels: int, *, last: bool) -> None:
    """Cast, take the mean off and scale: (x / scale - mean) / std, with mean and scale in 8-bit levels."""
    scale = preprocess.scale or 255.0
    std = _per_channel(preprocess.std or (1.0,), channels)
    mean = _per_channel(preprocess.mean or (0.0,), channels) * scale
    factor = 1 / (scale * std)
    convolution = _first_convolution(module)
    folded_mean = convolution is not None and _fold(module, convolution, mean, factor)
    shape = (channels,) if last else (channels, 1, 1)
    frames = _placeholder(module.graph)
    steps: list[tuple[object, object]] = [(_ATEN.to.dtype, torch.float32)]
    if not folded_mean and bool(mean.any()):
        steps.append((_ATEN.sub.Tensor, _constant(module, _MEAN, mean.reshape(shape))))
    if convolution is None:
        steps.append((_ATEN.mul.Tensor, _constant(module, _FACTOR, factor.reshape(shape))))
    _insert(module.graph, frames, steps)


def _first_convolution(module: GraphModule) -> Node | None:
    """The convolution that alone reads the images, with a weight of its own; None where there is none."""
    users = list(_placeholder(module.graph).users)
    if len(users) != 1 or operator_name(users[0]) != "aten.conv2d.default":
        return None
    weight = users[0].args[1]
    alone = isinstance(weight, Node) and weight.op == "get_attr" and len(weight.users) == 1
    return users[0] if alone and argument(users[0], 6, 1, "groups") == 1 else None


def _fold(module: GraphModule, convolution: Node, mean: Tensor, factor: Tensor) -> bool:
    """Put the factor into the weights, and the mean into the bias where there is no padding."""
    weight = convolution.args[1]
    assert isinstance(weight, Node)
    values = attribute(module, str(weight.target))
    wide = values.double() * factor.reshape(1, -1, 1, 1)
    with torch.no_grad():
        values.copy_(wide)
    if any(_pair(argument(convolution, 4, 0, "padding"))):
        return False
    shift = -(wide * mean.reshape(1, -1, 1, 1)).sum((1, 2, 3))
    bias = argument(convolution, 2, None, "bias")
    if isinstance(bias, Node):
        shift = shift + attribute(module, str(bias.target)).double()
    with module.graph.inserting_before(convolution):
        constant = _constant(module, _BIAS, shift)
    arguments = list(convolution.args) + [None] * (3 - len(convolution.args))
    arguments[2] = constant
    convolution.args = tuple(arguments)
    convolution.kwargs = {name: value for name, value in convolution.kwargs.items() if name != "bias"}
    return True


def _take_channels_last(graph: Graph) -> None:
    """Turn images of (height, width, channels), last of all that is done to them.

    The turned image is laid out anew: strides of channels last would spread through the graph, and its
    pooling would be decomposed by strides.
    """
    images = _placeholder(graph)
    while len(images.users) == 1 and next(iter(images.users)).target in _PREPARING:
        images = next(iter(images.users))
    _insert(graph, images, [(_ATEN.permute.default, [0, 3, 1, 2]), (_ATEN.contiguous.default, None)])


_PREPARING = {_ATEN.to.dtype, _ATEN.sub.Tensor, _ATEN.mul.Tensor}


def _insert(graph: Graph, images: Node, steps: Sequence[tuple[object, object]]) -> None:
    """Put operators between a node and everything that read it."""
    readers, last = list(images.users), images
    for target, value in steps:
        place = value if isinstance(value, Node) else last
        with graph.inserting_after(max((last, place), key=list(graph.nodes).index)):
            last = graph.call_function(target, (last,) if value is None else (last, value))  # type: ignore[arg-type]
    for reader in readers:
        reader.replace_input_with(images, last)


def _placeholder(graph: Graph) -> Node:
    placeholders: list[Node] = graph.find_nodes(op="placeholder")
    return placeholders[0]


def _constant(module: GraphModule, name: str, value: Tensor) -> Node:
    module.register_buffer(name, value.float())
    with module.graph.inserting_before(next(iter(module.graph.nodes))):
        return module.graph.get_attr(name)


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    if len(values) not in {1, channels}:
        raise ModelError(
            f"the recipe normalises {len(values)} channels, the network takes {channels}",
            hint="give `mean` and `std` one value, or one for each channel",
        )
    return torch.tensor(values, dtype=torch.float64).expand(channels).clone()


def _pair(value: object) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (int(str(value)),)


# What comes out


def _answer(graph: Graph, interface: Interface, classes: int) -> None:
    output = next(node for node in graph.nodes if node.op == "output")
    (scores,) = output.all_input_nodes
    with graph.inserting_before(output):
        if interface.answer == "argmax":
            output.args = (_whole(graph, graph.call_function(_ATEN.argmax.default, (scores, 1))),)
            return
        likely = graph.call_function(_ATEN.softmax.int, (scores, 1))
        output.args = (likely,)
        if interface.answer == "top5":
            best = graph.call_function(_ATEN.topk.default, (likely, min(TOP, classes), 1))
            values, places = (graph.call_function(getitem, (best, place)) for place in (0, 1))
            output.args = ((_whole(graph, places), values),)


def _whole(graph: Graph, value: Node) -> Node:
    """32 bits: what TFLite's interpreters and microcontrollers count in."""
    return graph.call_function(_ATEN.to.dtype, (value, torch.int32))

"""Adapted programs answer to raw frames as the network answers to the images made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.core.errors import ModelError
from edgeprune.core.interface import Answer, Interface, Layout
from edgeprune.core.recipe import Preprocess
from edgeprune.graph.adapted import adapted
from edgeprune.graph.capture import Program, capture

PREPROCESS = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Two(nn.Module):
    """Two convolutions read the images, so that normalisation goes into neither."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.one(x) + self.other(x)).relu().mean((2, 3)))


def starting(first: nn.Module) -> nn.Module:
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))


FIRST = {
    "padded": starting(nn.Conv2d(3, 4, 3, padding=1)),
    "unpadded": starting(nn.Conv2d(3, 4, 3)),
    "without_bias": starting(nn.Conv2d(3, 4, 3, bias=False)),
    "two_readers": Two(),
    "pooled_first": nn.Sequential(nn.AvgPool2d(2), starting(nn.Conv2d(3, 4, 3))),
}


def a_program(name: str = "padded") -> Program:
    return capture(FIRST[name], (3, 9, 8))


def operators(program: Program) -> list[str]:
    return [node.name for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("answer", ["scores", "softmax", "argmax", "top5"])
@pytest.mark.parametrize("name", FIRST)
def test_frames_are_answered_like_the_images_made_of_them(name: str, layout: Layout, answer: Answer) -> None:
    program = a_program(name)
    interface = Interface(camera=True, layout=layout, answer=answer)
    frames = np.random.default_rng(3).integers(256, size=(5, 3, 9, 8), dtype=np.uint8)
    mean, std = (np.reshape(value, (3, 1, 1)) for value in (PREPROCESS.mean, PREPROCESS.std))
    images = torch.from_numpy(((frames / 255 - mean) / std).astype(np.float32))
    expected = interface.expected(program.run(images).numpy())
    device = adapted(program, interface, PREPROCESS)
    first = device.answers([torch.from_numpy(interface.laid_out(frames))])[0]
    assert np.abs(interface.read(first.numpy(), 6) - expected).max() < 1e-5


def test_without_padding_normalisation_costs_nothing() -> None:
    device = adapted(a_program("unpadded"), Interface(camera=True), PREPROCESS)
    assert operators(device)[:2] == ["to_dtype", "conv2d"]


def test_with_padding_the_mean_is_taken_off_first() -> None:
    device = adapted(a_program("padded"), Interface(camera=True), PREPROCESS)
    assert operators(device)[:3] == ["to_dtype", "sub_tensor", "conv2d"]


def test_what_no_convolution_can_hold_is_computed() -> None:
    device = adapted(a_program("two_readers"), Interface(camera=True), PREPROCESS)
    assert operators(device)[:3] == ["to_dtype", "sub_tensor", "mul_tensor"]


def test_the_network_itself_is_left_as_it_was() -> None:
    program = a_program("unpadded")
    before = {name: tensor.clone() for name, tensor in program.tensors().items()}
    adapted(program, Interface(camera=True), PREPROCESS)
    assert all((tensor == before[name]).all() for name, tensor in program.tensors().items())


def test_a_plain_interface_changes_nothing() -> None:
    program = a_program()
    assert adapted(program, Interface(batch="one"), PREPROCESS) is program


def test_an_adapted_program_is_captured_again_with_a_free_batch() -> None:
    device = adapted(a_program(), Interface(camera=True, layout="nhwc", answer="top5"), PREPROCESS)
    frames = device.example(7)
    again = device.exported().module(check_guards=False)(frames)
    assert [tuple(one.shape) for one in again] == [(7, 5), (7, 5)]


@pytest.mark.parametrize("given", [{"camera": True}, {"layout": "nhwc"}])
def test_what_is_no_image_has_no_frames(given: dict[str, object]) -> None:
    flat = capture(nn.Linear(5, 3), (5,))
    with pytest.raises(ModelError, match="takes no images of channels x height x width"):
        adapted(flat, Interface.parse(given, source="test"), PREPROCESS)


@pytest.mark.parametrize(("network", "shape"), [
    (nn.Conv2d(3, 2, 1), "1, 2, 4, 4"),
    (nn.Sequential(nn.Flatten(), nn.Linear(48, 1)), "1, 1"),
])  # fmt: skip
def test_what_answers_no_classes_has_no_best(network: nn.Module, shape: str) -> None:
    program = capture(network, (3, 4, 4))
    with pytest.raises(ModelError, match=rf"answers with shape \({shape}\), not one score per class"):
        adapted(program, Interface(answer="argmax"), PREPROCESS)


def test_a_recipe_of_other_channels_is_refused() -> None:
    with pytest.raises(ModelError, match="the recipe normalises 2 channels, the network takes 3"):
        adapted(a_program(), Interface(camera=True), Preprocess(mean=(0.1, 0.2)))

"""Evening out channels changes no answer by a bit, and leaves them of about one size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fragile import CALIBRATION, OUTLIER, trained
from torch import Tensor, nn
from zoo import IMAGE, SITUATIONS, Net, conv_bn, lived_in, pooled

from edgeprune.graph.capture import Program, capture, rebuild
from edgeprune.graph.consumers import consumers
from edgeprune.graph.couple import couple
from edgeprune.graph.equalised import equalised, scaled
from edgeprune.graph.replay import observe
from edgeprune.graph.spans import find_spans
from edgeprune.graph.weights import copied


def randomly_scaled(program: Program) -> tuple[Program, int]:
    """Every span of a program multiplied with powers of two that have nothing to do with it; how many."""
    spans = find_spans(program, consumers(couple(program)))
    tensors, random = copied(program), torch.Generator().manual_seed(1)
    for span in spans:
        channels = len(tensors[span.makers[0].weight])
        scale = torch.randint(-4, 5, (channels,), generator=random).double().exp2().float()
        tensors |= scaled(span, scale, tensors)
    return Program(rebuild(program, tensors), program.inputs), len(spans)


@pytest.mark.parametrize("name", SITUATIONS)
def test_whatever_channels_are_multiplied_with_no_answer_changes(name: str) -> None:
    program = SITUATIONS[name].coupling().program
    changed, _ = randomly_scaled(program)
    inputs = program.examples(3, seed=7)
    for found, expected in zip(changed.answers(inputs), program.answers(inputs), strict=True):
        assert torch.equal(found, expected)


BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky relu": nn.functional.leaky_relu,
    "identity": lambda x: x,
    "largest": lambda x: nn.functional.max_pool2d(x, 3, 2, 1),
    "mean": lambda x: x.mean((2, 3), keepdim=True).relu(),
    "relu6": nn.functional.relu6,
    "hard-swish": nn.functional.hardswish,
    "sigmoid gate": lambda x: x * x.sigmoid(),
    "plus one": lambda x: x + 1.0,
    "mean over channels": lambda x: x - x.mean(1, keepdim=True),
}


def spans_through(between: str) -> int:
    """How many spans two layers have with something between them."""

    def wire(net: Net, x: Tensor) -> Tensor:
        return pooled(net.second(BETWEEN[between](net.first(x))))

    torch.manual_seed(0)
    program = capture(lived_in(Net(wire, first=conv_bn(3, 8), second=conv_bn(8, 8))).eval(), IMAGE)
    changed, count = randomly_scaled(program)
    assert torch.equal(changed.run(program.example(3)), program.run(program.example(3)))
    return count


@pytest.mark.parametrize("between", ["relu", "leaky relu", "identity", "largest", "mean"])
def test_channels_may_be_scaled_through_what_scales_with_them(between: str) -> None:
    assert spans_through(between) == 1


@pytest.mark.parametrize("between", ["relu6", "hard-swish", "sigmoid gate", "plus one", "mean over channels"])
def test_nothing_is_scaled_through_what_does_not_scale_with_it(between: str) -> None:
    assert spans_through(between) == 0


def test_values_in_front_of_and_behind_a_filter_per_channel_are_scaled_by_themselves() -> None:
    def wire(net: Net, x: Tensor) -> Tensor:
        return pooled(net.project(net.filter(net.expand(x).relu()).relu()))

    parts = {"expand": conv_bn(3, 8), "filter": conv_bn(8, 16, groups=8), "project": conv_bn(16, 8)}
    torch.manual_seed(0)
    program = capture(lived_in(Net(wire, **parts)).eval(), IMAGE)
    spans = find_spans(program, consumers(couple(program)))
    assert [(one.makers[0].weight, one.readers[0].weight) for one in spans] == [
        ("expand.0.weight", "filter.0.weight"),
        ("filter.0.weight", "project.0.weight"),
    ]
    changed, _ = randomly_scaled(program)
    assert torch.equal(changed.run(program.example(3)), program.run(program.example(3)))


def test_an_evened_out_network_answers_as_before_to_the_bit_and_its_channels_are_of_one_size() -> None:
    program = trained()
    even = equalised(program, CALIBRATION)
    inputs = torch.from_numpy(next(CALIBRATION.inputs(50)))
    assert torch.equal(even.run(inputs), program.run(inputs))
    assert spread(program, inputs) > OUTLIER / 4
    assert spread(even, inputs) < 16


def spread(program: Program, inputs: Tensor) -> float:
    """How many times as large as its median channel the largest of the first rectified values is."""
    node = next(one for one in program.graph.nodes if "relu" in one.name)
    seen: list[Tensor] = []
    observe(program, inputs, [node], lambda _, value: seen.append(value.amax((0, 2, 3))))
    return float(seen[0].max() / seen[0].median())


def test_a_channel_that_calibration_never_saw_is_left_about_as_it_is() -> None:
    tensors = copied(trained())
    tensors["loud.weight"][1], tensors["loud.bias"][1] = 0.0, -1e-12
    program = Program(rebuild(trained(), tensors), trained().inputs)
    found = copied(equalised(program, CALIBRATION))["hushed.weight"] / tensors["hushed.weight"]
    assert float(found[:, 1].min()) >= 1 / 64


def test_a_network_that_is_silent_is_left_as_it_is() -> None:
    tensors = copied(trained())
    tensors["loud.weight"].zero_()
    tensors["loud.bias"].zero_()
    program = Program(rebuild(trained(), tensors), trained().inputs)
    found = copied(equalised(program, CALIBRATION))
    assert torch.equal(found["loud.weight"], tensors["loud.weight"])
    assert torch.isfinite(found["hushed.weight"]).all()

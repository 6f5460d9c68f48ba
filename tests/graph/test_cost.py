"""Cost: parameters, MACs and bytes against numbers computed by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo import SITUATIONS, Net, conv_bn

from edgeprune.core.foreign import import_torchvision
from edgeprune.core.plan import Cost, Cut
from edgeprune.graph.capture import capture
from edgeprune.graph.cost import CostModel, count
from edgeprune.graph.couple import couple
from graph.labels import situation, wired


def test_a_small_residual_network_by_hand() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = F.relu(net.body(x) + net.short(x))
        return net.head(x.mean((2, 3)))

    coupling = wired(
        wiring,
        *(3, 16, 16),
        stem=conv_bn(3, 8),
        body=nn.Conv2d(8, 16, 3, stride=2, padding=1),
        short=nn.Conv2d(8, 16, 1, stride=2, bias=False),
        head=nn.Linear(16, 10),
    )

    parameters = (8 * 3 * 9 + 2 * 8) + (16 * 8 * 9 + 16) + 16 * 8 + (10 * 16 + 10)
    floats = parameters + 2 * 8
    assert count(coupling) == Cost(
        parameters=parameters,
        macs=8 * 3 * 9 * 256 + 16 * 8 * 9 * 64 + 16 * 8 * 64 + 160,
        weight_bytes=4 * floats + 8,  # the batch norm counts its batches in an int64
        # The stem's convolution and its batch norm, 8 x 16 x 16 each, are alive at once.
        peak_activation_bytes=4 * 2 * 8 * 256,
    )


def test_resnet18_costs_what_is_published() -> None:
    torchvision = import_torchvision()

    cost = count(couple(capture(torchvision.models.resnet18(weights=None), (3, 224, 224))))

    assert cost.parameters == 11_689_512
    assert cost.macs == 1_814_073_344


def test_a_tied_weight_is_counted_once() -> None:
    network = SITUATIONS["tied_linear"].build()

    cost = count(situation("tied_linear"))

    assert cost.parameters == sum(one.numel() for one in network.parameters())


# Situations whose products torch counts as well; its counter leaves fused attention on a CPU out.
COUNTED = [
    "grouped",
    "depthwise_multiplier",
    "transposed_conv",
    "grouped_transposed_conv",
    "conv1d",
    "conv3d",
]
ATTENTION = [
    "mha_written_out",
    "mha_many_heads",
    "fused_qkv_chunked",
    "window_attention",
]


@pytest.mark.parametrize("name", [*COUNTED, *ATTENTION])
def test_macs_are_half_of_torchs_own_count(name: str) -> None:
    one = SITUATIONS[name]
    program = capture(one.build(), one.input_size)

    with FlopCounterMode(display=False) as counter:
        program.run(torch.zeros(1, *one.input_size))

    assert 2 * count(couple(program)).macs == counter.get_total_flops()


def test_attention_costs_the_same_however_it_is_written() -> None:
    written_out, fused = situation("mha_written_out"), situation("scaled_dot_product")
    cuts = (Cut(group="value", units=8, kept=(1, 2, 6)),)

    assert count(written_out).macs == count(fused).macs
    assert count(written_out, written_out.narrowed(cuts)).macs == count(fused, fused.narrowed(cuts)).macs


def test_the_fast_model_agrees_with_the_count() -> None:
    coupling = situation("chunk_cat")
    cuts = [Cut(group="body.0", units=8, kept=(0, 5)), Cut(group="stem.0", units=8, kept=(1, 2, 3))]
    narrowed = coupling.narrowed(cuts)
    model, cost = CostModel(coupling), count(coupling, narrowed)

    assert (model.macs(narrowed.kept), model.parameters(narrowed.kept)) == (cost.macs, cost.parameters)
    assert cost.macs < count(coupling).macs


def test_a_network_without_products_costs_none() -> None:
    coupling = wired(lambda net, x: x.relu() + net.shift, 3, 8, 8, shift=nn.Parameter(torch.zeros(1)))

    assert count(coupling) == Cost(parameters=1, macs=0, weight_bytes=4, peak_activation_bytes=4 * 2 * 3 * 64)

"""Cost: parameters, MACs and bytes against numbers computed by hand."""

from __future__ import annotations

import numpy as np
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
        weight_bytes=4 * floats,  # the int64 in which a batch norm counts its batches is no weight
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
    cuts = (
        Cut(group="value/width", units=8, kept=(1, 2, 6)),
        Cut(group="query/width", units=8, kept=(0, 4)),
        Cut(group="query/heads", units=2, kept=(1,)),
    )

    assert count(written_out).macs == count(fused).macs
    assert count(written_out, written_out.narrowed(cuts)).macs == count(fused, fused.narrowed(cuts)).macs


def test_the_fast_model_agrees_with_the_count() -> None:
    coupling = situation("chunk_cat")
    cuts = [Cut(group="body.0", units=8, kept=(0, 5)), Cut(group="stem.0", units=8, kept=(1, 2, 3))]
    kept = coupling.kept(cuts)
    model, cost = CostModel(coupling), count(coupling, coupling.narrowed(cuts))

    assert (model.macs(kept), model.parameters(kept)) == (cost.macs, cost.parameters)
    assert cost.macs < count(coupling).macs


@pytest.mark.parametrize("name", ["chunk_cat", "residual_blocks", "mha_written_out", "grouped"])
def test_a_part_of_the_model_is_enough_for_differences(name: str) -> None:
    coupling = situation(name)
    model = CostModel(coupling)
    whole = coupling.kept(())
    for group in coupling.free():
        part = model.around(np.unique(coupling.unit_classes[group.id]))
        kept = coupling.kept((Cut(group=group.id, units=group.units, kept=(group.units - 1,)),))
        for fast, full in ((part.macs, model.macs), (part.parameters, model.parameters)):
            assert fast(whole) - fast(kept) == full(whole) - full(kept)
        assert full(kept) < full(whole)


RECURRENT = 12 * 16 + 12 + 2 * (4 * 8 * (12 + 8)) + 2 * (4 * 8 * (16 + 8)) + 3 * 6 * (16 + 6)


def test_a_recurrent_layer_costs_its_matrices_at_every_step() -> None:
    coupling = situation("recurrent")
    steps, head = 6, 12 * 10

    assert count(coupling).macs == steps * (RECURRENT - 12) + head
    one = Cut(group="lstm.weight_ih_l0", units=8, kept=(3,))
    expected = 12 * 16 + 2 * 4 * (12 + 1) + 2 * 4 * (2 + 1) + 3 * 6 * (2 + 6)
    assert count(coupling, coupling.narrowed((one,))).macs == steps * expected + head


def test_the_mean_of_a_block_counts_nothing_and_a_removed_block_neither() -> None:
    coupling = situation("residual_blocks")
    each = {name: 256 * 9 * (8 * inner + inner * 8) for name, inner in (("one", 6), ("two", 5), ("three", 7))}
    stem, head = 256 * 9 * 3 * 8, 80

    assert count(coupling).macs == stem + sum(each.values()) + head
    cuts = (Cut(group="blocks", units=3, kept=(1,)),)
    assert count(coupling, coupling.narrowed(cuts)).macs == stem + each["two"] + head


def test_einsum_costs_what_the_same_products_cost() -> None:
    assert count(situation("einsum_attention")).macs == count(situation("mha_written_out")).macs
    assert count(situation("batched_heads")).macs == count(situation("mha_written_out")).macs


def test_a_network_without_products_costs_none() -> None:
    coupling = wired(lambda net, x: x.relu() + net.shift, 3, 8, 8, shift=nn.Parameter(torch.zeros(1)))

    assert count(coupling) == Cost(parameters=1, macs=0, weight_bytes=4, peak_activation_bytes=4 * 2 * 3 * 64)

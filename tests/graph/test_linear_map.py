"""Linear maps: every kind of layer as rows times columns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph.capture import Program, capture
from edgeprune.graph.linear_map import LinearMap, linear_map
from edgeprune.graph.replay import observe

CONVOLUTIONS: list[tuple[type[nn.Module], tuple[int, ...], dict[str, Any]]] = [
    (nn.Conv1d, (4, 11), {"kernel_size": 3, "padding": 1}),
    (nn.Conv1d, (4, 11), {"kernel_size": 4, "stride": 3, "padding": "valid"}),
    (nn.Conv1d, (4, 11), {"kernel_size": 3, "padding": "same", "dilation": 3}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 1}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 1, "stride": 2, "padding": 1}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 3, "stride": 2, "padding": 1}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 3, "padding": 2, "dilation": 2}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": (3, 5), "padding": "same"}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": (3, 5), "stride": (1, 2), "padding": (0, 2)}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 3, "padding": 1, "groups": 2}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 5, "stride": 2, "padding": 2, "groups": 4, "out_channels": 4}),
    (nn.Conv2d, (4, 11, 12), {"kernel_size": 3, "padding": 1, "groups": 4}),
    (nn.Conv3d, (4, 5, 6, 7), {"kernel_size": (3, 1, 2), "stride": (2, 1, 1), "padding": (1, 0, 0)}),
    (nn.Conv3d, (4, 5, 6, 7), {"kernel_size": 3, "padding": "same", "groups": 2}),
]
TRANSPOSED: list[tuple[type[nn.Module], tuple[int, ...], dict[str, Any]]] = [
    (nn.ConvTranspose1d, (4, 9), {"kernel_size": 4, "stride": 2, "padding": 1}),
    (nn.ConvTranspose1d, (4, 9), {"kernel_size": 2, "stride": 3}),
    (nn.ConvTranspose2d, (4, 6, 7), {"kernel_size": 2, "stride": 2}),
    (nn.ConvTranspose2d, (4, 6, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}),
    (nn.ConvTranspose2d, (4, 6, 7), {"kernel_size": 3, "stride": 1, "padding": 1}),
    (nn.ConvTranspose2d, (4, 6, 7), {"kernel_size": (5, 3), "stride": (3, 2), "padding": (2, 0)}),
    (nn.ConvTranspose3d, (4, 3, 4, 3), {"kernel_size": 3, "stride": 2, "padding": 1}),
]


def seen(layer: nn.Module, size: tuple[int, ...]) -> tuple[LinearMap | None, Tensor, Tensor, Tensor]:
    """The layer's map and weight, and what it reads and answers for two inputs."""
    program: Program = capture(nn.Sequential(layer).eval(), size)
    node = next(one for one in program.graph.nodes if one.op == "call_function")
    values: dict[Any, Tensor] = {}
    source = program.example(2)
    observe(program, source, [node], values.__setitem__)
    weight = program.tensors()["0.weight"].detach()
    return linear_map(node, weight), weight, source, values[node]


def built(kind: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return kind(**{"in_channels": 4, "out_channels": 8, "bias": False, **options})


@pytest.mark.parametrize(("kind", "size", "options"), CONVOLUTIONS + TRANSPOSED)
def test_rows_times_columns_is_the_layer(
    kind: type[nn.Module], size: tuple[int, ...], options: dict[str, Any]
) -> None:
    view, weight, source, answer = seen(built(kind, options), size)
    assert view is not None
    sites = view.sites(view.size_of(answer))
    assert view.sites(view.size_from(source)) == sites
    for chosen in (None, torch.arange(sites - 1, -1, -2)):
        rows = view.rows(source, chosen)
        assert rows.shape[1] == len(source) * (sites if chosen is None else len(chosen))
        torch.testing.assert_close(rows @ view.columns(weight), view.outputs(answer, chosen))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_an_even_kernel_is_padded_by_one_more_at_the_end() -> None:
    layer = built(nn.Conv2d, {"kernel_size": (4, 3), "padding": "same", "dilation": (1, 2)})
    view, weight, source, answer = seen(layer, (4, 11, 12))
    assert view is not None
    torch.testing.assert_close(view.rows(source) @ view.columns(weight), view.outputs(answer))


@pytest.mark.parametrize(("kind", "size", "options"), CONVOLUTIONS + TRANSPOSED)
def test_columns_become_the_weight_again(
    kind: type[nn.Module], size: tuple[int, ...], options: dict[str, Any]
) -> None:
    view, weight, _, _ = seen(built(kind, options), size)
    assert view is not None
    assert torch.equal(view.weight(view.columns(weight), weight), weight)


@pytest.mark.parametrize(("kind", "size", "options"), CONVOLUTIONS)
def test_every_output_of_a_convolution_is_a_site(
    kind: type[nn.Module], size: tuple[int, ...], options: dict[str, Any]
) -> None:
    view, _, _, answer = seen(built(kind, options), size)
    assert view is not None
    assert view.outputs(answer).numel() == answer.numel()


@pytest.mark.parametrize("size", [(4,), (5, 4), (2, 3, 4)])
def test_a_linear_layer_reads_vectors(size: tuple[int, ...]) -> None:
    view, weight, source, answer = seen(nn.Linear(4, 6, bias=False), size)
    assert view is not None
    assert view.sites(view.size_of(answer)) == math.prod(size[:-1])
    torch.testing.assert_close(view.rows(source) @ view.columns(weight), view.outputs(answer))
    assert torch.equal(view.weight(view.columns(weight), weight), weight)


def test_numbers_per_channel_find_their_block_and_back() -> None:
    values = torch.arange(8.0)
    for kind, size, options in [*CONVOLUTIONS, *TRANSPOSED]:
        view, weight, _, _ = seen(built(kind, {**options, "out_channels": 8}), size)
        assert view is not None
        assert view.per_block(values).shape == (len(view.columns(weight)), view.columns(weight).shape[2])
        assert torch.equal(view.joined(view.per_block(values)), values)


@pytest.mark.parametrize("options", [{"kernel_size": 3, "dilation": 2}, {"kernel_size": 2, "groups": 2}])
def test_transposed_convolutions_with_groups_or_gaps_are_left_alone(options: dict[str, Any]) -> None:
    view, *_ = seen(built(nn.ConvTranspose2d, options), (4, 6, 7))
    assert view is None

"""Pooling and reductions: channels pass, the axes that are reduced do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.check import prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, constants, free, keeping, situation, why_locked, wired


def test_means_over_space_pass_channels_on() -> None:
    coupling = situation("mean_over_space")

    assert classes(coupling, "head.weight", 1) == classes(coupling, "stem.0.weight", 0) * 3


def reduced(function: Callable[[Tensor], Tensor]) -> Coupling:
    """A convolution of 6 channels whose reduction over channels gates another one of 4."""
    return wired(
        lambda net, x: net.last(net.other(x) * function(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        other=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(4, 2, 1),
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(1, keepdim=True),
        lambda x: x.sum((1, 2), keepdim=True),
        lambda x: x.sum(-3).unsqueeze(1),
        lambda x: x.sum(),
        lambda x: x.mean(1, keepdim=True),
        lambda x: x.mean((1, 3), keepdim=True),
        lambda x: x.mean(),
        lambda x: x.norm(dim=1, keepdim=True),
        lambda x: x.norm(p=1, dim=1, keepdim=True),
        lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
        lambda x: F.normalize(x, dim=1).sum(1, keepdim=True),
    ],
)
def test_sums_means_and_norms_over_channels_count_what_is_cut_as_zero(
    function: Callable[[Tensor], Tensor],
) -> None:
    coupling = reduced(function)

    assert free(coupling) == {"first": 6, "other": 4}
    assert_exact(coupling)


def test_a_mean_over_fewer_channels_is_scaled_back_to_all_of_them() -> None:
    coupling = reduced(lambda x: x.mean(1, keepdim=True))
    narrow = shrink(coupling, keeping(coupling, first=(0, 1, 4)))

    assert constants(narrow.module, "aten.mul.Tensor") == [(0.5,), ()]
    assert constants(shrink(coupling, ()).module, "aten.mul.Tensor") == [()]
    sums = reduced(lambda x: x.sum(1, keepdim=True))
    assert constants(shrink(sums, keeping(sums, first=(0, 1, 4))).module, "aten.mul.Tensor") == [()]


def test_the_largest_over_channels_never_falls_below_the_zero_that_a_cut_one_reads_as() -> None:
    coupling = reduced(lambda x: x.amax(1, keepdim=True))
    cuts = keeping(coupling, first=(0, 1, 4))

    assert constants(shrink(coupling, cuts).module, "aten.clamp_min.default") == [(0.0,)]
    assert prove(coupling, cuts).refused == {}
    assert constants(shrink(coupling, ()).module, "aten.clamp_min.default") == []
    least = reduced(lambda x: x.amin((1, 2), keepdim=True))
    narrow = shrink(least, keeping(least, first=(0, 1, 4)))
    assert constants(narrow.module, "aten.clamp_max.default") == [(0.0,)]


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x.max(1, keepdim=True)[0], "aten.max.dim"),
        (lambda x: x.std(1, keepdim=True), "aten.std.dim"),
        (lambda x: x.var(1, keepdim=True), "aten.var.dim"),
        (lambda x: x.logsumexp(1, keepdim=True), "aten.logsumexp.default"),
        (lambda x: x.prod(1, keepdim=True), "aten.prod.dim_int"),
        (lambda x: x.max(), "aten.max.default"),
    ],
)
def test_extremes_and_spreads_over_channels_lock_them(
    function: Callable[[Tensor], Tensor], operator: str
) -> None:
    coupling = reduced(function)

    assert free(coupling) == {"other": 4}
    assert why_locked(coupling, "first").startswith(
        f"reduced over this axis ({operator}, test_rules_reduction.py:"
    )


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x.topk(3, 1)[0].sum(1, keepdim=True), "aten.topk.default"),
        (lambda x: x.cumsum(1).sum(1, keepdim=True), "aten.cumsum.default"),
        (lambda x: x.sort(1)[0][:, :1], "aten.sort.default"),
    ],
)
def test_what_works_along_channels_locks_them(function: Callable[[Tensor], Tensor], operator: str) -> None:
    coupling = reduced(function)

    assert free(coupling) == {"other": 4}
    assert why_locked(coupling, "first").startswith(
        f"works along this axis ({operator}, test_rules_reduction.py:"
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.amax((2, 3), keepdim=True),
        lambda x: x.std((2, 3), keepdim=True),
        lambda x: x.max(2)[0].unsqueeze(2),
        lambda x: torch.var_mean(x, (2, 3), keepdim=True)[1],
        lambda x: x.topk(2, -1)[0].sum(-1, keepdim=True),
        lambda x: x.cumsum(2),
        lambda x: x.sort(-1)[0],
    ],
)
def test_reductions_over_space_pass_channels_on(function: Callable[[Tensor], Tensor]) -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x) * function(net.first(x))),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert_exact(coupling)


def test_windows_and_their_fold_keep_channels_apart() -> None:
    coupling = wired(
        lambda net, x: net.last(F.fold(net.body(F.unfold(net.first(x), 2, stride=2)), 4, 2, stride=2)),
        *(3, 4, 4),
        first=nn.Conv2d(3, 6, 1),
        body=nn.Conv1d(24, 20, 1),
        last=nn.Conv2d(5, 2, 1),
    )

    assert classes(coupling, "body.weight", 1) == [
        one for one in classes(coupling, "first.weight", 0) for _ in range(4)
    ]
    assert free(coupling) == {"first": 6, "body": 5}
    assert_exact(coupling)


def test_sliding_windows_over_space_pass_channels_on() -> None:
    coupling = wired(
        lambda net, x: net.last(net.first(x).unfold(2, 3, 1).amax(-1)),
        *(3, 6),
        first=nn.Conv1d(3, 6, 1),
        last=nn.Conv1d(6, 2, 1),
    )

    assert free(coupling) == {"first": 6}
    assert_exact(coupling)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 3, stride=1),
        lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: F.adaptive_max_pool2d(x, 2),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: F.interpolate(x, size=(5, 5), mode="bilinear"),
        lambda x: F.interpolate(x, size=(5, 5), mode="bicubic"),
    ],
)
def test_pooling_and_resizing_pass_channels_on(pool: object) -> None:
    assert callable(pool)

    def wiring(net: nn.Module, x: Tensor) -> Tensor:
        return net.last(pool(net.first(x)))

    coupling = wired(wiring, *(3, 6, 6), first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))

    assert free(coupling) == {"first": 6}
    assert prove(coupling, keeping(coupling, first=(1, 4))).refused == {}

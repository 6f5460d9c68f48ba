"""The oracle cannot be fooled: wrong surgery is refused, for the guilty group and no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo import pooled

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.check import TOLERANCE, prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import keeping, situation, wired

# body reads stem's 8 channels and down's 12, one after the other; down is the group that is mistreated.
GUILTY = "down.0"
KEPT = (0, 3, 4, 9)
WHOLE = "the shrunk network does not run: "


@cache
def network() -> Coupling:
    return situation("upsample_skip")


def cuts() -> tuple[Cut, ...]:
    return keeping(network(), stem__0=(1, 2, 6), down__0=KEPT, body__0=(0, 2, 5, 8))


Tamper = Callable[[Program, dict[str, torch.Tensor]], Program | None]


def tampered(tamper: Tamper, *guilty: str) -> Callable[[Coupling, tuple[Cut, ...]], Program]:
    """Surgery that goes wrong whenever all `guilty` groups are among the cuts."""

    def operate(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        program = shrink(coupling, chosen)
        if not set(guilty) <= {cut.group for cut in chosen}:
            return program
        with torch.no_grad():
            return tamper(program, coupling.program.tensors()) or program

    return operate


def next_ones(original: torch.Tensor, offset: int = 0) -> torch.Tensor:
    return original[[offset + (unit + 1) % 12 for unit in KEPT]]


def one_column_off(program: Program, original: dict[str, torch.Tensor]) -> None:
    weight = program.tensors()["body.0.weight"]
    columns = original["body.0.weight"].transpose(0, 1)
    rows = [0, 2, 5, 8] if len(weight) == 4 else list(range(10))
    weight[:, -len(KEPT) :] = next_ones(columns, 8).transpose(0, 1)[rows]


def one_wrong_column_in_the_last_digit(program: Program, original: dict[str, torch.Tensor]) -> None:
    program.tensors()["body.0.weight"][:, -1] *= 1 + 1e-6


def another_producer_channel(program: Program, original: dict[str, torch.Tensor]) -> None:
    program.tensors()["down.0.weight"].copy_(
        original["down.0.weight"][[0, 3, 5, 9]][:, : program.tensors()["down.0.weight"].shape[1]]
    )


def statistics_of_other_channels(program: Program, original: dict[str, torch.Tensor]) -> None:
    program.tensors()["down.1.running_mean"].copy_(next_ones(original["down.1.running_mean"]))


def not_a_number(program: Program, original: dict[str, torch.Tensor]) -> None:
    program.tensors()["down.1.bias"][0] = float("nan")


def infinity(program: Program, original: dict[str, torch.Tensor]) -> None:
    program.tensors()["down.1.bias"][0] = float("inf")


def nothing_but_not_a_number(program: Program, original: dict[str, torch.Tensor]) -> None:
    for tensor in program.tensors().values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))


def another_output_shape(program: Program, original: dict[str, torch.Tensor]) -> Program:
    narrow = {name: one[:2] if name.startswith("head") else one for name, one in program.tensors().items()}
    return Program(rebuild(program, narrow), program.inputs)


def a_width_that_does_not_fit(program: Program, original: dict[str, torch.Tensor]) -> Program:
    narrow = {name: one[:3] if name == "down.1.bias" else one for name, one in program.tensors().items()}
    return Program(rebuild(program, narrow), program.inputs)


@pytest.mark.parametrize(
    "tamper",
    [
        one_column_off,
        one_wrong_column_in_the_last_digit,
        another_producer_channel,
        statistics_of_other_channels,
        not_a_number,
        infinity,
        nothing_but_not_a_number,
        another_output_shape,
        a_width_that_does_not_fit,
    ],
)
def test_exactly_the_guilty_group_is_refused_and_the_rest_is_cut(tamper: Tamper) -> None:
    proven = prove(network(), cuts(), operate=tampered(tamper, GUILTY))

    assert set(proven.refused) == {GUILTY}
    assert [cut.group for cut in proven.cuts] == ["stem.0", "body.0"]
    assert proven.relative_error <= TOLERANCE
    shapes = {name: list(one.shape[:2]) for name, one in proven.program.tensors().items()}
    assert shapes["stem.0.weight"] == [3, 3]
    assert shapes["down.0.weight"] == [12, 3]
    assert shapes["body.0.weight"] == [4, 15]


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (not_a_number, "its answers differ by nan (relative, float64)"),
        (another_output_shape, "its answers have shape (2, 2, 16, 16), not (2, 4, 16, 16)"),
    ],
)
def test_the_refusal_says_what_was_seen(tamper: Tamper, why: str) -> None:
    assert prove(network(), cuts(), operate=tampered(tamper, GUILTY)).refused == {GUILTY: why}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("shape '[2, 3]' is invalid\nfor input of size 7"), "shape '[2, 3]' is invalid"),
        (ValueError("zip() argument 2 is shorter"), "zip() argument 2 is shorter"),
        (IndexError("list index out of range"), "list index out of range"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_rewrite_that_raises_is_refused_like_a_wrong_answer(error: Exception, why: str) -> None:
    def raising(program: Program, original: dict[str, torch.Tensor]) -> None:
        raise error

    assert prove(network(), cuts(), operate=tampered(raising, GUILTY)).refused == {GUILTY: WHOLE + why}


def test_every_guilty_group_is_found() -> None:
    def shift(program: Program, original: dict[str, torch.Tensor]) -> None:
        program.tensors()["head.bias"] += 1

    def operate(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        wrong = tampered(shift, "stem.0")(coupling, chosen)
        return (
            wrong
            if any(cut.group == "stem.0" for cut in chosen)
            else tampered(shift, "body.0")(coupling, chosen)
        )

    proven = prove(network(), cuts(), operate=operate)

    assert set(proven.refused) == {"stem.0", "body.0"}
    assert [cut.group for cut in proven.cuts] == [GUILTY]


@pytest.mark.parametrize(
    ("together", "last"),
    [
        (("stem.0", "body.0"), "body.0"),
        (("stem.0", GUILTY), GUILTY),
        (("stem.0", GUILTY, "body.0"), "body.0"),
    ],
)
def test_of_cuts_that_fail_only_together_the_last_straw_is_refused(
    together: tuple[str, ...], last: str
) -> None:
    proven = prove(network(), cuts(), operate=tampered(not_a_number, *together))

    assert proven.refused == {last: "together with others, its answers differ by nan (relative, float64)"}
    assert [cut.group for cut in proven.cuts] == [one.group for one in cuts() if one.group != last]
    assert proven.relative_error <= TOLERANCE


def test_two_pairs_that_fail_only_together_lose_two_groups() -> None:
    def operate(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        pairs = [("stem.0", GUILTY), ("stem.0", "body.0")]
        bad = [pair for pair in pairs if set(pair) <= {cut.group for cut in chosen}]
        return tampered(not_a_number, *bad[0])(coupling, chosen) if bad else shrink(coupling, chosen)

    proven = prove(network(), cuts(), operate=operate)

    assert set(proven.refused) == {GUILTY, "body.0"}
    assert [cut.group for cut in proven.cuts] == ["stem.0"]


@pytest.mark.parametrize("answer", ["head.bias", "other.bias", "map.bias"])
def test_one_wrong_answer_of_several_is_enough(answer: str) -> None:
    coupling = situation("words_and_image")
    chosen = keeping(coupling, table=(1, 2), body=(0, 7))

    def operate(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        program = shrink(coupling, chosen)
        if any(cut.group == "body" for cut in chosen):
            program.tensors()[answer].data[0] = float("nan")
        return program

    assert set(prove(coupling, chosen, operate=operate).refused) == {"body"}


def test_a_layer_whose_weights_are_still_constant_hides_nothing() -> None:
    """Zero-initialised gains and layer scales of 1e-6, as of a network before its training."""
    coupling = wired(
        lambda net, x: net.head(pooled(net.stem(x) + net.scale * net.norm(net.body(net.stem(x))))),
        *(3, 6, 6),
        stem=nn.Conv2d(3, 6, 1),
        body=nn.Conv2d(6, 6, 1),
        norm=zeroed(nn.BatchNorm2d(6)),
        scale=nn.Parameter(torch.full((6, 1, 1), 1e-6)),
        head=nn.Linear(6, 3),
    )
    chosen = keeping(coupling, stem=(0, 2, 5))
    saved = {name: one.clone() for name, one in coupling.program.tensors().items()}

    def wrong_rows(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        program = shrink(coupling, chosen)
        if chosen:
            rows = coupling.program.tensors()["body.weight"][[1, 2, 5]][:, [0, 2, 5]]
            program.tensors()["body.weight"].data.copy_(rows)
        return program

    def wrong_gains(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        program = shrink(coupling, chosen)
        if chosen:
            gains = coupling.program.tensors()["norm.weight"][[1, 2, 5]]
            program.tensors()["norm.weight"].data.copy_(gains)
        return program

    assert set(prove(coupling, chosen, operate=wrong_rows).refused) == {"stem"}
    assert set(prove(coupling, chosen, operate=wrong_gains).refused) == {"stem"}
    proven = prove(coupling, chosen)
    assert proven.refused == {}
    # What is stirred is a copy: neither the network nor what is returned has other values.
    assert all(torch.equal(one, saved[name]) for name, one in coupling.program.tensors().items())
    assert torch.equal(proven.program.tensors()["norm.weight"], torch.zeros(3))
    assert torch.equal(proven.program.tensors()["scale"], torch.full((3, 1, 1), 1e-6))


def test_stirring_keeps_ties() -> None:
    layer = nn.Linear(6, 6)
    nn.init.constant_(layer.weight, 0.5)
    coupling = wired(
        lambda net, x: net.last(F.relu(net.second(F.relu(net.first(net.embed(x)))))),
        4,
        embed=nn.Linear(4, 6),
        first=layer,
        second=tied(nn.Linear(6, 6), layer),
        last=nn.Linear(6, 2),
    )

    proven = prove(coupling, keeping(coupling, embed=(0, 4)))

    assert proven.refused == {}
    tensors = proven.program.tensors()
    assert tensors["first.weight"] is tensors["second.weight"]


def zeroed(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    nn.init.zeros_(norm.weight)
    return norm


def tied(layer: nn.Linear, other: nn.Linear) -> nn.Linear:
    layer.weight = other.weight
    return layer


def test_surgery_that_spoils_the_whole_network_is_a_bug_and_not_an_endless_search() -> None:
    with pytest.raises(AssertionError, match="a copy without any cut fails: its answers differ by nan"):
        prove(network(), cuts(), operate=tampered(not_a_number))


def test_what_is_returned_is_what_was_tested() -> None:
    made: list[Program] = []

    def operate(coupling: Coupling, chosen: tuple[Cut, ...]) -> Program:
        made.append(shrink(coupling, chosen))
        return made[-1]

    assert prove(network(), cuts(), operate=operate).program is made[-1]


def test_no_cut_is_proven_too() -> None:
    proven = prove(network(), ())

    assert (proven.cuts, proven.refused, proven.relative_error) == ((), {}, 0.0)


def test_the_tested_tensors_are_left_in_single_precision() -> None:
    tensors = prove(network(), cuts()).program.tensors()

    assert {one.dtype for one in tensors.values()} == {torch.float32, torch.int64}

"""The oracle cannot be fooled: wrong surgery is refused, for the guilty group and no other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, rebuild
from edgeprune.graph.check import TOLERANCE, prove
from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import keeping, situation

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


def test_cuts_that_fail_only_together_are_all_refused() -> None:
    proven = prove(network(), cuts(), operate=tampered(not_a_number, "stem.0", "body.0"))

    assert set(proven.refused) == {"stem.0", GUILTY, "body.0"}
    assert proven.cuts == ()
    assert proven.program.tensors()["body.0.weight"].shape == (10, 20, 3, 3)


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

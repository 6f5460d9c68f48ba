"""Sizes: what people write, how much of a file is weights, and whether it keeps to its bound."""

from __future__ import annotations

import pytest

from core.documents import an_artifact
from edgeprune.core.errors import RequestError
from edgeprune.core.size import SizeBound, SizeClaim, parse_size, part_of_way


@pytest.mark.parametrize(
    ("text", "meant"),
    [("500k", (500_000, None)), ("1.5M:int8-static", (1_500_000, "int8-static")), ("9:fp16", (9, "fp16"))],
)
def test_a_size_may_name_a_precision(text: str, meant: tuple[int, str | None]) -> None:
    assert parse_size(text) == meant


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("500kB", "--size '500kB' is not a count", "write it like 60M, 1500k or 1234"),
        ("-5", "--size '-5' is not a count", "write it like 60M, 1500k or 1234"),
        (
            "9k:int9",
            "--size: unknown precision 'int9'",
            "known: fp16, fp32, int4-weight-only, int8-static, int8-weight-only, int8w-int16a",
        ),
        (
            "9k:int8",
            "--size: unknown precision 'int8'",
            "did you mean 'int8-static'? known: fp16, fp32, int4-weight-only, int8-static, "
            "int8-weight-only, int8w-int16a",
        ),
        (
            "9k:",
            "--size: unknown precision ''",
            "known: fp16, fp32, int4-weight-only, int8-static, int8-weight-only, int8w-int16a",
        ),
    ],
)
def test_a_size_that_is_none(text: str, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_size(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_what_is_not_weights_stays_as_it_is_in_the_original() -> None:
    original = an_artifact().model_copy(update={"bytes": 1200})
    bound = SizeBound(asked=700, original=original, weights=1000)
    assert (bound.room, bound.file_of(400), bound.file_of(bound.room)) == (500, 600, 700)
    assert bound.part(1.0).room == 500
    assert bound.part(0.5).room == 707


def test_a_share_of_the_way_is_a_share_of_the_ratio() -> None:
    assert [part_of_way(800, 100, share) for share in (1 / 3, 2 / 3, 1.0)] == [400, 200, 100]
    assert part_of_way(100, 400, 0.5) == 400


def test_a_file_above_its_bound_is_an_unmet_promise() -> None:
    claim = SizeClaim(asked=500_000, path="model.int8-static.onnx", predicted=490_000, bytes=500_000)
    assert claim.unmet() == []
    assert claim.model_copy(update={"bytes": 512_300}).unmet() == [
        "model.int8-static.onnx has 512.3 kB, more than the 500.0 kB asked for"
    ]

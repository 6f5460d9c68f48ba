"""Inputs are read as people write them, and written so that they are read again."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.inputs import InputSize, parse_input


@pytest.mark.parametrize("text", ["3x224x224", "10", "16:int<30000", "2x8:int<5"])
def test_what_is_read_is_written_again(text: str) -> None:
    assert str(parse_input(text)) == text


def test_an_input_holds_real_numbers_unless_it_says_otherwise() -> None:
    assert parse_input("3X32x16") == InputSize(size=(3, 32, 16), below=None)
    assert parse_input("16:int<30000") == InputSize(size=(16,), below=30000)


@pytest.mark.parametrize(
    "text", ["", "3x224xx", "3x0", "16:int", "16:int<0", "16:float", "3x224x224,10", "-3"]
)
def test_what_is_no_input_is_refused_with_both_ways_to_write_one(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_input(text)
    assert caught.value.message == f"--input '{text}' is not an input"
    assert caught.value.hint == (
        "write 3x224x224, or 16:int<30000 for integers; several inputs: --input once for each"
    )

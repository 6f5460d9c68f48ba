"""A narrowing takes what stays, puts it back where it was, and cannot say what is impossible."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edgeprune.core.errors import DocumentError
from edgeprune.core.narrowing import Narrowing

BOTH = Narrowing(shape=(4, 3, 2), kept={0: (1, 3), 2: (0,)})
NUMBERS = np.arange(24.0).reshape(4, 3, 2)
ROWS = [[[6.0], [8.0], [10.0]], [[18.0], [20.0], [22.0]]]


def test_the_kept_indices_of_every_axis_stay() -> None:
    assert BOTH.narrow_shape == (2, 3, 1)
    assert BOTH.of(NUMBERS).tolist() == ROWS
    assert BOTH.of(torch.from_numpy(NUMBERS)).tolist() == ROWS


def test_the_result_is_contiguous_and_owns_its_memory() -> None:
    columns = Narrowing(shape=(4, 3, 2), kept={2: (1,)})
    array, tensor = columns.of(NUMBERS), columns.of(torch.from_numpy(NUMBERS).transpose(0, 1).transpose(0, 1))
    assert array.flags["C_CONTIGUOUS"]
    assert array.base is None
    assert tensor.is_contiguous()
    whole = Narrowing(shape=(4, 3, 2), kept={}).of(NUMBERS)
    assert not np.shares_memory(whole, NUMBERS)


def test_what_is_put_back_lies_where_it_came_from() -> None:
    full = np.full((4, 3, 2), -1.0)
    back = BOTH.put_back(BOTH.of(NUMBERS), full)
    assert (full == -1).all()
    assert back[1, :, 0].tolist() == [6.0, 8.0, 10.0]
    assert BOTH.of(back).tolist() == ROWS
    assert (back == -1).sum() == 24 - 6
    tensor = BOTH.put_back(torch.tensor(ROWS, dtype=torch.float64), torch.full((4, 3, 2), -1.0))
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == back.tolist()


@pytest.mark.parametrize(
    ("kept", "fault"),
    [
        ({3: [0]}, "axis 3 does not exist in shape 4x3x2"),
        ({0: []}, "axis 0 keeps nothing; at least one index must stay"),
        ({1: [1, 1]}, "axis 1: kept must name each index once"),
        ({1: [0, 3]}, "axis 1: kept must lie in 0..2"),
        ({1: [-1, 0]}, "axis 1: kept must lie in 0..2"),
    ],
)
def test_kept_indices_exist_once(kept: dict[int, list[int]], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Narrowing.parse({"shape": [4, 3, 2], "kept": kept}, source="narrowing")
    assert caught.value.message == f"narrowing: {fault}"


def test_what_stays_may_stand_in_another_order() -> None:
    turned = Narrowing(shape=(4, 3, 2), kept={0: (3, 1)})
    assert turned.of(NUMBERS).tolist() == NUMBERS[[3, 1]].tolist()
    assert (
        turned.of(turned.put_back(turned.of(NUMBERS), np.zeros((4, 3, 2)))).tolist()
        == NUMBERS[[3, 1]].tolist()
    )


BLOCKS = Narrowing(shape=(4, 3, 2), kept={0: (0, 2, 3), 1: (0, 1)}, blocks=((0, 1), (0, 2)))
"""Rows 0 and 1 keep columns 0 and 1, rows 2 and 3 keep columns 0 and 2."""


def test_blocks_of_rows_keep_columns_of_their_own() -> None:
    expected = [NUMBERS[row][columns].tolist() for row, columns in ((0, [0, 1]), (2, [0, 2]), (3, [0, 2]))]

    assert BLOCKS.narrow_shape == (3, 2, 2)
    assert BLOCKS.of(NUMBERS).tolist() == expected
    assert BLOCKS.of(torch.from_numpy(NUMBERS)).tolist() == expected
    back = BLOCKS.put_back(BLOCKS.of(NUMBERS), np.full((4, 3, 2), -1.0))
    assert BLOCKS.of(back).tolist() == expected
    assert (back == -1).sum() == 24 - 12
    assert Narrowing.parse(json.loads(BLOCKS.to_json()), source="narrowing") == BLOCKS
    assert "blocks" not in json.loads(BOTH.to_json())


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"blocks": [[0, 2], [0, 1]]},
            "the first must be what axis 1 keeps, and only axes 0 and 1 may be cut",
        ),
        (
            {"kept": {1: [0, 1], 2: [0]}},
            "the first must be what axis 1 keeps, and only axes 0 and 1 may be cut",
        ),
        ({"blocks": [[0, 1]] * 3}, "4 rows cannot be in 3 equal blocks"),
        ({"blocks": [[0, 1], [1]]}, "each must name as many indices of axis 1, each once"),
        ({"blocks": [[0, 1], [1, 1]]}, "each must name as many indices of axis 1, each once"),
        ({"blocks": [[0, 1], [1, 3]]}, "each must name as many indices of axis 1, each once"),
    ],
)
def test_blocks_fit_the_shape(changed: dict[str, object], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Narrowing.parse({**BLOCKS.model_dump(), **changed}, source="narrowing")
    assert caught.value.message == f"narrowing: blocks: {fault}"

"""A narrowing takes what stays, puts it back where it was, and cannot say what is impossible."""

from __future__ import annotations

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
        ({0: [2, 1]}, "axis 0: kept must be ascending, each index once"),
        ({1: [1, 1]}, "axis 1: kept must be ascending, each index once"),
        ({1: [0, 3]}, "axis 1: kept must lie in 0..2"),
        ({1: [-1, 0]}, "axis 1: kept must lie in 0..2"),
    ],
)
def test_kept_indices_exist_once_in_order(kept: dict[int, list[int]], fault: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Narrowing.parse({"shape": [4, 3, 2], "kept": kept}, source="narrowing")
    assert caught.value.message == f"narrowing: {fault}"

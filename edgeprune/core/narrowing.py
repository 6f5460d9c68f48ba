"""Narrowings: what stays of one tensor, for torch tensors and numpy arrays alike.

Everything is done by indexing, so that no engine is imported; results own their memory.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from edgeprune.core.document import Document
from edgeprune.core.units import format_shape


class Narrowing(Document):
    """What stays of one tensor."""

    shape: tuple[int, ...] = Field(description="sizes before")
    kept: dict[int, tuple[int, ...]] = Field(
        description="per axis the indices that stay, each once, in the order in which they stay (ascending, "
        "as a rule); an axis that is not named stays whole"
    )
    blocks: tuple[tuple[int, ...], ...] = Field(
        default=(),
        description="where axis 1 keeps different indices in each of several equal blocks of axis 0: what it "
        "keeps in each, as many as `kept` says, which are those of the first",
    )
    persistent: bool = Field(
        default=True,
        description="whether state dicts hold the tensor; constants and some buffers are left out",
    )

    @model_validator(mode="after")
    def _kept_indices_exist(self) -> Narrowing:
        for axis, kept in self.kept.items():
            if not 0 <= axis < len(self.shape):
                raise ValueError(f"axis {axis} does not exist in shape {format_shape(self.shape)}")
            if not kept:
                raise ValueError(f"axis {axis} keeps nothing; at least one index must stay")
            if len(set(kept)) < len(kept):
                raise ValueError(f"axis {axis}: kept must name each index once")
            if min(kept) < 0 or max(kept) >= self.shape[axis]:
                raise ValueError(f"axis {axis}: kept must lie in 0..{self.shape[axis] - 1}")
        return self

    @model_validator(mode="after")
    def _blocks_fit(self) -> Narrowing:
        if not self.blocks:
            return self
        if not set(self.kept) <= {0, 1} or self.blocks[0] != self.kept.get(1):
            raise ValueError("blocks: the first must be what axis 1 keeps, and only axes 0 and 1 may be cut")
        if self.shape[0] % len(self.blocks):
            raise ValueError(f"blocks: {self.shape[0]} rows cannot be in {len(self.blocks)} equal blocks")
        for kept in self.blocks:
            if len(set(kept)) != len(self.blocks[0]) or not set(kept) <= set(range(self.shape[1])):
                raise ValueError("blocks: each must name as many indices of axis 1, each once")
        return self

    @model_serializer(mode="wrap")
    def _without_empty_blocks(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        return found if self.blocks else {key: value for key, value in found.items() if key != "blocks"}

    @property
    def narrow_shape(self) -> tuple[int, ...]:
        """Sizes after."""
        return tuple(
            len(self.kept[axis]) if axis in self.kept else size for axis, size in enumerate(self.shape)
        )

    def of(self, array: Any) -> Any:
        """The part of an array of `shape` that stays, contiguous and in memory of its own."""
        if self.blocks:
            return own(array[self._rows_and_columns()])
        for axis, kept in self.kept.items():
            array = array[(*(slice(None),) * axis, list(kept))]
        return own(array)

    def put_back(self, narrow: Any, full: Any) -> Any:
        """A copy of `full` with the narrow values where they came from."""
        result = own(full)
        if self.blocks:
            result[self._rows_and_columns()] = _like(narrow, result)
            return result
        places = (self.kept.get(axis, range(size)) for axis, size in enumerate(self.shape))
        result[np.ix_(*(list(place) for place in places))] = _like(narrow, result)
        return result

    def _rows_and_columns(self) -> tuple[list[list[int]], list[tuple[int, ...]]]:
        """Where the entries that stay lie along axes 0 and 1, row by row."""
        each = self.shape[0] // len(self.blocks)
        rows = self.kept.get(0, tuple(range(self.shape[0])))
        return [[row] for row in rows], [self.blocks[row // each] for row in rows]


def own(value: Any) -> Any:
    """A copy that shares no memory: contiguous for arrays, deep for anything else."""
    if not is_array(value):
        return copy.deepcopy(value)
    array = plain(value)
    return array.clone().contiguous() if hasattr(array, "clone") else np.array(array, order="C")


def plain(array: Any) -> Any:
    """Without a history of gradients."""
    return array.detach() if hasattr(array, "detach") else array


def is_array(value: Any) -> bool:
    """Whether a value is a tensor or array, and not a number, a list or anything else."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def format_size(shape: Sequence[int]) -> str:
    """A shape for people; one without axes is called a scalar."""
    return format_shape(tuple(shape)) or "scalar"


def _like(array: Any, other: Any) -> Any:
    """Of the other's type and on its device, which torch insists on for an assignment."""
    return plain(array).to(other) if hasattr(array, "to") else array

"""Narrowings: what stays of one tensor, for torch tensors and numpy arrays alike.

Everything is done by indexing, so that no engine is imported; results own their memory.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from edgeprune.core.document import Document
from edgeprune.core.units import format_shape


class Narrowing(Document):
    """What stays of one tensor."""

    shape: tuple[int, ...] = Field(description="sizes before")
    kept: dict[int, tuple[int, ...]] = Field(
        description="per axis the indices that stay, ascending; an axis that is not named stays whole"
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
            if list(kept) != sorted(set(kept)):
                raise ValueError(f"axis {axis}: kept must be ascending, each index once")
            if kept[0] < 0 or kept[-1] >= self.shape[axis]:
                raise ValueError(f"axis {axis}: kept must lie in 0..{self.shape[axis] - 1}")
        return self

    @property
    def narrow_shape(self) -> tuple[int, ...]:
        """Sizes after."""
        return tuple(
            len(self.kept[axis]) if axis in self.kept else size for axis, size in enumerate(self.shape)
        )

    def of(self, array: Any) -> Any:
        """The part of an array of `shape` that stays, contiguous and in memory of its own."""
        for axis, kept in self.kept.items():
            array = array[(*(slice(None),) * axis, list(kept))]
        return own(array)

    def put_back(self, narrow: Any, full: Any) -> Any:
        """A copy of `full` with the narrow values where they came from."""
        result = own(full)
        places = (self.kept.get(axis, range(size)) for axis, size in enumerate(self.shape))
        result[np.ix_(*(list(place) for place in places))] = _like(narrow, result)
        return result


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

"""Single file: what a format of one protobuf or flatbuffer can hold, asked before an hour of converting."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from edgeprune.core.errors import ModelError
from edgeprune.core.units import format_bytes

_LIMIT = 2**31 - 2**20
"""Offsets are signed 32-bit numbers; a mebibyte is left for the graph."""


def require_single_file(weights: Iterable[Tensor], format: str) -> None:
    """Refuse weights beyond 2 GB: a deliverable is one file with one hash, so none are put beside it.

    Raises
    ------
    ModelError
        The weights take more than one file can hold.
    """
    size = sum(one.numel() * one.element_size() for one in weights)
    if size > _LIMIT:
        raise ModelError(
            f"{format} export failed: the weights take {format_bytes(size)}, and one file holds 2 GB",
            hint="cut further, with --params or --size; external data beside the file is not written",
        )

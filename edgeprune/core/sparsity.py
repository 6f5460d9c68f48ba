"""Sparsity: which connections of which weights stay, tied to one graph, compact and replayable."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edgeprune.core.document import Document
from edgeprune.core.screening import Choice, Options

SPARSITY = "sparsity.json"
"""The sparsity in a run folder, beside its plan."""
Mask = NDArray[np.bool_]


class Connections(Document):
    """The connections of one weight that stay; the others are zero."""

    shape: tuple[int, ...]
    kept: int = Field(ge=0)
    mask: str = Field(
        description="one bit for each weight in memory order, 1 where it stays; packed from the highest bit "
        "of each byte on, compressed with zlib, in base64"
    )

    @classmethod
    def of(cls, mask: Mask) -> Connections:
        """The document of a mask."""
        packed = zlib.compress(np.packbits(mask).tobytes(), 9)
        return cls(shape=mask.shape, kept=int(mask.sum()), mask=base64.b64encode(packed).decode())

    @model_validator(mode="after")
    def _mask_is_of_this_shape(self) -> Connections:
        bits = self._bits()
        if bits[self.weights :].any() or int(bits.sum()) != self.kept:
            raise ValueError(f"mask: does not keep {self.kept} of {self.weights} weights")
        return self

    @property
    def weights(self) -> int:
        """How many connections there are."""
        return math.prod(self.shape)

    def array(self) -> Mask:
        """True where a connection stays, of the weight's shape."""
        return self._bits()[: self.weights].reshape(self.shape)

    def _bits(self) -> Mask:
        size = -(-self.weights // 8)
        try:
            # One byte more than there may be: a small text can hide very many bytes.
            packed = zlib.decompressobj().decompress(base64.b64decode(self.mask, validate=True), size + 1)
        except (ValueError, zlib.error) as error:
            raise ValueError("mask: not zlib in base64") from error
        if len(packed) != size:
            raise ValueError(f"mask: does not hold one bit for each of {self.weights} weights")
        return np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool)


class Sparsity(Document):
    """A decision that can be replayed: its zeros stay zeros through training and export."""

    kind: Literal["sparsity/1"] = "sparsity/1"
    graph: str = Field(description="fingerprint of the captured graph this belongs to")
    criterion: str
    options: Options = Field(default={}, description="of the criterion, those the run chose included")
    choice: Choice | None = Field(default=None, description="how the run chose; None: nothing was open")
    budget: str = Field(description="the request this answers, in words")
    seed: int
    images: int = Field(description="images that ranked the connections")
    connections: dict[str, Connections] = Field(description="by the weight's name")
    whole: dict[str, str] = Field(
        default_factory=dict, description="weights that lose no connection, with the reason"
    )

    @property
    def weights(self) -> int:
        """How many connections there were, those of whole weights included."""
        return sum(one.weights for one in self.connections.values())

    @property
    def kept(self) -> int:
        """How many stay."""
        return sum(one.kept for one in self.connections.values())

    def masks(self) -> Mapping[str, Mask]:
        """True where a connection stays, for every weight that loses some."""
        return {name: one.array() for name, one in self.connections.items() if one.kept < one.weights}

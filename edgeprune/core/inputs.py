"""Inputs of a network as people write them: `3x224x224`, and `16:int<30000` for indices."""

from __future__ import annotations

import re

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError
from edgeprune.core.units import format_shape


class InputSize(Document):
    """One input without its batch axis."""

    size: tuple[int, ...]
    below: int | None = Field(
        default=None, gt=0, description="it holds integers from 0 to below this; null: real numbers"
    )

    def __str__(self) -> str:
        return format_shape(self.size) + ("" if self.below is None else f":int<{self.below}")


def parse_input(text: str) -> InputSize:
    """One `--input`: '3x224x224' is real, '16:int<30000' holds integers from 0 to 29999.

    Raises
    ------
    RequestError
        The text is neither.
    """
    match = re.fullmatch(r"(\d+(?:x\d+)*)(?::int<(\d+))?", text.strip().lower())
    size = tuple(int(part) for part in match[1].split("x")) if match else (0,)
    below = int(match[2]) if match and match[2] else None
    if 0 in size or below == 0:
        raise RequestError(
            f"--input '{text}' is not an input",
            hint="write 3x224x224, or 16:int<30000 for integers; several inputs: --input once for each",
        )
    return InputSize(size=size, below=below)

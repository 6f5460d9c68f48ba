"""Thinning: how single connections are to be taken away, as it is asked for."""

from __future__ import annotations

import math
import re
from typing import Literal, get_args

from pydantic import Field, model_validator

from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError, did_you_mean

Granularity = Literal["channel", "connection"]
Scope = Literal["global", "layer"]
_MOST = 1_000
"""The largest M of an N:M pattern: beyond it there is no pattern left to speak of."""


class Pattern(Document):
    """Of each `of` consecutive inputs of a weight at most `keep` are connected."""

    keep: int = Field(ge=1)
    of: int = Field(ge=2, le=_MOST)

    @model_validator(mode="after")
    def _takes_something(self) -> Pattern:
        if self.keep >= self.of:
            raise ValueError(f"{self.keep}:{self.of} takes no connection away")
        return self

    def __str__(self) -> str:
        return f"{self.keep}:{self.of}"


class Thinning(Document):
    """How many connections stay, where they may be missing, and in how many rounds they go."""

    times: float | None = Field(default=None, gt=1, description="weights before / weights after, at least")
    pattern: Pattern | None = None
    scope: Scope = Field(
        default="global",
        description="global: one threshold for the whole network; layer: the same share of every weight",
    )
    rounds: int | None = Field(
        default=None,
        ge=1,
        description="of taking away and training; default: one for each epoch of the first half, at most 20",
    )

    @model_validator(mode="after")
    def _says_how_many(self) -> Thinning:
        if (self.times is None) == (self.pattern is None):
            raise ValueError("either 'times' or 'pattern' says how many connections stay")
        return self

    def words(self) -> str:
        """What is asked for, as a short phrase."""
        if self.pattern is not None:
            return f"{self.pattern.keep} of every {self.pattern.of} weights"
        each = " in every layer" if self.scope == "layer" else ""
        return f">= {self.times:g}x fewer weights{each}"


def thinning_of(
    granularity: str, sparsity: str | None, pattern: str | None, scope: str | None, rounds: int | None
) -> Thinning | None:
    """What the options of the command line ask for; None for whole channels.

    Raises
    ------
    RequestError
        A value that means nothing, an option of the other granularity, or no budget.
    """
    given = {"--sparsity": sparsity, "--pattern": pattern, "--scope": scope}
    granularity = _one_of("--granularity", granularity, get_args(Granularity))
    if granularity == "channel":
        for option, value in given.items():
            if value is not None:
                raise RequestError(
                    f"{option} is for single connections, and channels are cut",
                    hint="add --granularity connection, or say how small with --speedup, --macs or --params",
                )
        return None
    if (sparsity is None) == (pattern is None):
        both = "--sparsity and --pattern both say" if sparsity is not None else "nothing says"
        raise RequestError(
            f"{both} how many connections stay", hint="give one of them: --sparsity 70x or --pattern 2:4"
        )
    chosen = _one_of("--scope", scope or "global", get_args(Scope))
    return Thinning(
        times=parse_times(sparsity) if sparsity is not None else None,
        pattern=parse_pattern(pattern) if pattern is not None else None,
        scope="layer" if chosen == "layer" else "global",
        rounds=rounds,
    )


def parse_times(text: str) -> float:
    """How many times fewer weights `70x` asks for.

    Raises
    ------
    RequestError
        It is no number with an x, or not above 1.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([xX]?)\s*", text)
    if found is None:
        raise RequestError(
            f"--sparsity '{text}' is no number of times", hint="write 70x: 70 times fewer weights"
        )
    number = float(found[1])
    if not found[2]:
        raise RequestError(
            f"--sparsity {text} has no x", hint=f"it counts times fewer weights: write {_as_times(number)}"
        )
    if number <= 1 or not math.isfinite(number):
        raise RequestError(f"--sparsity {text} asks for nothing", hint="give a number above 1: 70x")
    return number


def parse_pattern(text: str) -> Pattern:
    """The pattern that `2:4` asks for.

    Raises
    ------
    RequestError
        It is not N:M with 1 <= N < M.
    """
    found = re.fullmatch(r"\s*(\d{1,4})\s*:\s*(\d{1,4})\s*", text)
    keep, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= keep < of <= _MOST:
        raise RequestError(
            f"--pattern '{text}' is no pattern", hint="write 2:4: of every four inputs two stay connected"
        )
    return Pattern(keep=keep, of=of)


def _as_times(number: float) -> str:
    """What somebody means who left the x out: a share of zeros, or times."""
    return f"{1 / (1 - number):.3g}x for {100 * number:g} % zeros" if 0 < number < 1 else f"{number:g}x"


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise RequestError(f"unknown {option} '{value}'", hint=did_you_mean(value, known))
    return value

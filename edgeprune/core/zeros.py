"""Zeros: whether a target's runtimes gain speed where connections went, and what is published about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import Field

from edgeprune.core.artifact import Format
from edgeprune.core.document import Document
from edgeprune.core.protocols import Runtime, SparseRuntime
from edgeprune.core.registry import build
from edgeprune.core.target import Fact, Target

_ABOUT_ZEROS = "sparse_"
"""What the names of a target's facts about kernels that skip zeros begin with."""


class Zeros(Document):
    """What zeros among the weights are worth on a target."""

    skipped: dict[str, bool | None] = Field(
        description="by runtime: whether its kernels skip zeros, and so compute faster; null: not known"
    )
    published: dict[str, Fact] = Field(
        default={}, description="what the target's facts say of kernels that skip zeros, with their sources"
    )

    def words(self) -> Iterator[str]:
        """What to expect, one line each."""
        multiply, skip, unknown = (
            " and ".join(name for name, skips in self.skipped.items() if skips is answer)
            for answer in (False, True, None)
        )
        yield "zeros make files smaller once they are packed" + (
            f", not faster: the kernels of {multiply} multiply them like any other number" if multiply else ""
        )
        if skip:
            yield f"the kernels of {skip} skip zeros"
        if unknown:
            yield f"whether the kernels of {unknown} skip zeros is not known: `speed` says what files gain"
        if self.published:
            facts = (f"{_value(fact)} ({name})" for name, fact in self.published.items())
            yield f"published for engines that skip zeros: {', '.join(facts)}; report.json names the sources"


def zeros_on(target: Target, formats: Iterable[Format]) -> Zeros:
    """What zeros are worth in files of these formats, by what the target's runtimes and its facts say."""
    runtimes = dict.fromkeys(target.runtimes[format] for format in formats)
    return Zeros(
        skipped={name: _skips(name) for name in runtimes},
        published={name: fact for name, fact in target.physics.items() if name.startswith(_ABOUT_ZEROS)},
    )


def _skips(name: str) -> bool | None:
    runtime: Runtime = build("runtimes", name)
    return runtime.skips_zeros if isinstance(runtime, SparseRuntime) else None


def _value(fact: Fact) -> str:
    number = f"{fact.value:g}" if isinstance(fact.value, float) else str(fact.value)
    return f"{number}{fact.unit}" if fact.unit == "x" else f"{number} {fact.unit}".rstrip()

"""Weighing: what a bound on the smallest file leaves for weights, and what became of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeprune.core.artifact import Artifact, Precision
from edgeprune.core.errors import BudgetError, RequestError
from edgeprune.core.plan import Plan
from edgeprune.core.request import Budget
from edgeprune.core.samples import Split
from edgeprune.core.size import SizeBound, SizeClaim
from edgeprune.core.units import format_bytes
from edgeprune.graph.cost import weight_bytes
from edgeprune.graph.couple import Coupling
from edgeprune.stages.quantize import quantize

_IMAGES = 10
"""A file's size does not depend on the ranges that calibration finds."""


def weighed(
    coupling: Coupling,
    originals: Sequence[Artifact],
    precisions: Sequence[Precision],
    calibration: Split | None,
    budget: Budget,
    folder: Path,
    noted: Callable[[Artifact], Artifact] = lambda artifact: artifact,
) -> SizeBound:
    """The bound in terms of weights, from the original's files in every precision.

    Parameters
    ----------
    originals : of Artifact
        The original's float32 files; paths are relative to the run folder, smaller ones are written beside.
    noted : callable
        A file beside them as large as it will be with its notes.

    Raises
    ------
    BudgetError
        The file is larger than the bound without a single weight.
    RequestError
        No file of the named precision can be made.
    """
    assert budget.size is not None
    beside = (folder / originals[0].path).parent
    plain = [one.model_copy(update={"path": Path(one.path).name}) for one in originals]
    few = None if calibration is None else calibration.take(_IMAGES)
    smaller, failed = quantize(plain, precisions, few, beside)
    smallest = _smallest([noted(one) for one in (*plain, *smaller)], budget)
    if smallest is None:
        raise RequestError(
            f"no {budget.size_of} file can be made: {'; '.join(failed.values()) or 'the target has none'}",
            hint="leave the precision out of --size: the smallest file counts, whatever it holds",
        )
    weights = weight_bytes(coupling, (), smallest.precision)
    bound = SizeBound(asked=budget.size, original=smallest, weights=weights)
    if bound.room <= 0:
        raise BudgetError(
            f"the budget {budget.words()} cannot be reached",
            hint=f"{smallest.path} takes {format_bytes(bound.file_of(0))} for its graph and what else is not "
            "a weight; another format or precision may take less",
        )
    return bound


def size_claim(
    bound: SizeBound, coupling: Coupling, plan: Plan, artifacts: Sequence[Artifact], budget: Budget
) -> SizeClaim | None:
    """The smallest file beside what was asked for and foretold; None where none could be written."""
    smallest = _smallest(artifacts, budget)
    if smallest is None:
        return None
    return SizeClaim(
        asked=bound.asked,
        path=smallest.path,
        predicted=bound.file_of(weight_bytes(coupling, plan.cuts, bound.precision)),
        bytes=smallest.bytes,
    )


def _smallest(files: Sequence[Artifact], budget: Budget) -> Artifact | None:
    """Without data int8 is dynamic, and meant by static int8 all the same."""
    wanted = budget.size_of
    meant = [
        one
        for one in files
        if wanted in {None, one.precision} or (wanted == "int8-static" and one.precision == "int8-dynamic")
    ]
    return min(meant, key=lambda one: one.bytes, default=None)

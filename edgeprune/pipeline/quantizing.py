"""Quantizing: smaller files of every precision; those with calibrated ranges kept to a bound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.quantization import Guard, Quantization, Quantized
from edgeprune.core.report import Delivery
from edgeprune.core.request import Request
from edgeprune.core.samples import Splits
from edgeprune.core.target import Target
from edgeprune.graph.capture import Program
from edgeprune.stages.guard import Bench, guarded
from edgeprune.stages.quantize import calibrated, quantize
from edgeprune.stages.verify import judge

CHANGED = 5.0
"""Percent of the answers that an integer file may change where there are no labels; the int8 files of
docs/benchmarks.md change less than 2."""


def guard_of(request: Request, *, labelled: bool) -> Guard:
    """The bound for calibrated integer files.

    A bound on the whole drop is taken from the original and shown as surely as the search shows it; without
    one it is the files' own, against the float32 file, as counted.
    """
    budget = request.budget
    if budget.max_drop is not None:
        return Guard(
            at_most=budget.max_drop,
            confidence=budget.certainty,
            against="original",
            answers="right" if labelled else "same",
        )
    if labelled:
        return Guard(at_most=request.quantized_drop)
    return Guard(at_most=CHANGED, answers="same")


def quantized(
    original: Program,
    final: Program,
    exported: Delivery,
    request: Request,
    target: Target,
    splits: Splits | None,
    folder: Path,
    progress: Progress,
) -> Quantized:
    """Files of every precision that was asked for, or that the target wants."""
    wanted = request.precisions or target.precisions
    guarded_ones = [one for one in wanted if splits is not None and calibrated(one)]
    plain, failed = quantize(
        exported.artifacts,
        [one for one in wanted if one not in guarded_ones],
        splits.calibration if splits else None,
        folder,
        progress=progress,
    )
    if splits is None or not guarded_ones:
        return Quantized(artifacts=tuple(plain), failed=failed)
    keeper = _Keeper(original, final, request, target, splits, folder)
    jobs = [(source, precision) for source in exported.artifacts for precision in guarded_ones]
    progress.start("guard", len(jobs))
    for source, precision in jobs:
        keeper.keep(source, precision)
        progress.advance()
    progress.finish()
    artifacts = [*plain, *keeper.artifacts]
    return Quantized(
        artifacts=tuple(_in_order(artifacts, exported.artifacts, wanted)),
        failed={**failed, **keeper.failed},
        made=keeper.made,
        unmet=tuple(keeper.unmet),
    )


def _in_order(
    files: Sequence[Artifact], sources: Sequence[Artifact], precisions: Sequence[Precision]
) -> list[Artifact]:
    """Format by format, in the order precisions were asked for."""
    formats: list[Format] = [one.format for one in sources]
    known = [*precisions, "int8-dynamic"]
    return sorted(files, key=lambda one: (formats.index(one.format), known.index(one.precision)))


class _Keeper:
    """Makes the guarded files of one run; what networks answer is worked out once for all of them."""

    def __init__(
        self,
        original: Program,
        final: Program,
        request: Request,
        target: Target,
        splits: Splits,
        folder: Path,
    ) -> None:
        self._original, self._final, self._request = original, final, request
        self._target, self._splits, self._folder = target, splits, folder
        self.artifacts: list[Artifact] = []
        self.failed: dict[str, str] = {}
        self.made: dict[str, Quantization] = {}
        self.unmet: list[str] = []

    def keep(self, source: Artifact, precision: Precision) -> None:
        """One file within the bound, or why there is none."""
        name = f"model.{precision}.{source.format}"
        try:
            made, how = guarded(source, precision, self._bench, self._folder, self._target)
        except ModelError as error:
            self.failed[name] = error.message
            return
        self.made[name] = how
        if made is not None:
            self.artifacts.append(made)
            return
        self.failed[name] = f"even with every operator in float32 it breaks the bound: {_lost(how)}"
        self.unmet.append(f"no {precision} {source.format} file keeps to the bound: {_lost(how)}")

    @cached_property
    def _bench(self) -> Bench:
        selection = self._splits.selection
        after = _answers(self._final, self._splits)
        guard = guard_of(self._request, labelled=selection.labels is not None)
        before = after if guard.against == "float32" else _answers(self._original, self._splits)
        return Bench(
            calibration=self._splits.calibration,
            selection=selection,
            labels=before.argmax(1) if selection.labels is None else selection.labels,
            base=before,
            float32=after,
            guard=guard,
        )


def _answers(program: Program, splits: Splits) -> NDArray[np.float32]:
    return judge(program, splits.selection, Silent(), "")[1]


def _lost(how: Quantization) -> str:
    claim = how.guard.claim(how.after.drop)
    low, high = claim.drop.interval
    return f"{claim.words()}, but {claim.drop.points:.2f} [{low:.2f}, {high:.2f}] are lost"

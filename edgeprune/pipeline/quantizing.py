"""Quantizing: smaller files of every precision; those with calibrated ranges kept to a bound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Format, Precision
from edgeprune.core.errors import ModelError
from edgeprune.core.journal import hidden
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.quantization import Guard, Quantization, Quantized
from edgeprune.core.registry import names
from edgeprune.core.report import Delivery
from edgeprune.core.representative import doubts
from edgeprune.core.request import Request
from edgeprune.core.samples import Split, Splits
from edgeprune.core.target import Target
from edgeprune.graph.capture import Program
from edgeprune.graph.equalised import equalised
from edgeprune.graph.rounding import rounded
from edgeprune.stages.export import export
from edgeprune.stages.guard import Bench, guarded
from edgeprune.stages.quantize import calibrated, quantize
from edgeprune.stages.verify import judge

_DOUBTED = 100
"""Images that are looked at before ranges are learnt from them."""
_FOUR_BITS = frozenset({"int4-weight-only"})
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
    if splits is None:
        plain, failed = quantize(exported.artifacts, wanted, None, folder, progress=progress)
        return Quantized(artifacts=tuple(plain), failed=failed)
    mender = _Mender(final, splits.calibration, folder, progress, request, target)
    guarded_ones = [one for one in wanted if calibrated(one)]
    four_bits = [one for one in wanted if one in _FOUR_BITS]
    others = [one for one in wanted if one not in {*guarded_ones, *four_bits}]
    shown = splits.calibration.for_files(request.interface)
    plain, failed = quantize(exported.artifacts, others, shown, folder, progress=progress)
    if four_bits:
        sources = mender.prepared(exported.artifacts, 4)
        made, refused = quantize(sources, four_bits, shown, folder, progress=progress)
        plain += made
        failed |= refused
    if not guarded_ones:
        return Quantized(artifacts=tuple(_in_order(plain, exported.artifacts, wanted)), failed=failed)
    keeper = _Keeper(original, final, request, target, splits, folder, mender)
    jobs = [
        (source, precision)
        for source in exported.artifacts
        for precision in guarded_ones
        if f"{source.format}-{precision}" in names("quantizers")
    ]
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
        doubts=tuple(doubts(_first(splits.calibration), _first(splits.selection))),
    )


def _first(split: Split) -> NDArray[np.float32]:
    return next(split.batches(_DOUBTED))[0]


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
        mender: _Mender,
    ) -> None:
        self._original, self._final, self._request = original, final, request
        self._target, self._splits, self._folder, self._mender = target, splits, folder, mender
        self.artifacts: list[Artifact] = []
        self.failed: dict[str, str] = {}
        self.made: dict[str, Quantization] = {}
        self.unmet: list[str] = []

    def keep(self, source: Artifact, precision: Precision) -> None:
        """One file within the bound, or why there is none."""
        name = f"model.{precision}.{source.format}"
        try:
            made, how = guarded(
                source,
                precision,
                self._bench,
                self._folder,
                self._target,
                repair=lambda: self._mender.repaired(source),
            )
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
            calibration=self._splits.calibration.for_files(self._request.interface),
            selection=selection.for_files(self._request.interface),
            labels=selection.labels,
            base=before,
            float32=self._request.interface.expected(after),
            guard=guard,
            interface=self._request.interface,
        )


class _Mender:
    """Float32 files whose weights were rounded for integers beforehand; each made once, when it is wanted."""

    def __init__(
        self,
        final: Program,
        calibration: Split,
        folder: Path,
        progress: Progress,
        request: Request,
        target: Target,
    ) -> None:
        self._final, self._calibration, self._request = final, calibration, request
        self._versions = target.oldest
        self._folder, self._progress = folder, progress
        self._made: dict[tuple[int, Format], Artifact] = {}
        self._programs: dict[int, Program] = {}

    def repaired(self, source: Artifact) -> Path:
        """The file with channels evened out, and weights of eight bits so that every layer's outputs stay."""
        # The guard is the stage that runs: within it no other may be announced.
        return self._folder / self._prepared(source, 8, Silent()).path

    def prepared(self, sources: Sequence[Artifact], bits: int) -> list[Artifact]:
        """The files with weights of so many bits."""
        return [self._prepared(one, bits, self._progress) for one in sources]

    def _prepared(self, source: Artifact, bits: int, progress: Progress) -> Artifact:
        key = (bits, source.format)
        if key not in self._made:
            if bits not in self._programs:
                progress.start(f"round to {bits} bits")
                self._programs[bits] = self._rounded(bits)
                progress.finish()
            inside = hidden(f"rounded-{bits}")
            written, _ = export(
                self._programs[bits],
                [source.format],
                self._folder / inside,
                parent=source.parent,
                interface=self._request.interface,
                preprocess=self._request.preprocess,
                versions=self._versions,
                name=f"export {source.format} with {bits} bits",
                progress=progress,
            )
            self._made[key] = written[0].model_copy(update={"path": f"{inside}/{written[0].path}"})
        return self._made[key]

    def _rounded(self, bits: int) -> Program:
        """Weights of fewer than eight bits go with activations in float32, which need no evening out."""
        final = self._final.afresh()
        program = final if bits < 8 else equalised(final, self._calibration)
        return rounded(program, self._calibration, bits, seed=self._request.seed)


def _answers(program: Program, splits: Splits) -> NDArray[np.float32]:
    return judge(program, splits.selection, Silent(), "")[1]


def _lost(how: Quantization) -> str:
    claim = how.guard.claim(how.after.drop)
    low, high = claim.drop.interval
    return f"{claim.words()}, but {claim.drop.points:.2f} [{low:.2f}, {high:.2f}] are lost"

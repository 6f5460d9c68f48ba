"""Guard: integer files with ranges chosen by measurement, and operators back in float32 until a bound holds.

Nothing here is estimated: every way to choose ranges and every set of operators is written as a file, run on
selection images by the target's runtime, and judged by its answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Precision
from edgeprune.core.decibels import decibels
from edgeprune.core.drop import Drop, drop_of
from edgeprune.core.errors import DeviceError
from edgeprune.core.files import written_whole
from edgeprune.core.interface import Interface
from edgeprune.core.interpreted import Reading
from edgeprune.core.noise import Share, fewest, noisiest
from edgeprune.core.operator import Operator
from edgeprune.core.protocols import CalibratedQuantizer, Runtime, Session
from edgeprune.core.quantization import Fallback, Guard, Quantization, Step, Trial
from edgeprune.core.ranges import METHODS, Histogram, Method, Range
from edgeprune.core.registry import build
from edgeprune.core.samples import Split
from edgeprune.core.target import Target

_CHOOSING = 64
"""Selection images on which signals are compared; drops are counted on all of them."""
_SWEPT = 16
"""Selection images on which the noise of single operators is measured, up to 48 times."""
_BATCH = 100
_GIVE_BACK = 16
"""With no more shares in float32 than that, each is tried in integers again."""
_TIMED = 9
"""Files on the way that are timed, at most."""
_ROUNDS, _RUNS = 7, 10

Answers = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What files are judged by: images, and the answers that count."""

    calibration: Split
    selection: Split
    labels: NDArray[np.int64] | None
    """Right answers to the selection images; None where those of the network the drop is taken from count."""
    base: Answers
    """What the network the drop is taken from answers to the selection images."""
    float32: Answers
    """What the shrunk network answers: signals are taken against it."""
    guard: Guard
    interface: Interface = field(default_factory=Interface)
    """What the files take, as `calibration` and `selection` give it, and what they answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A float32 file that integer files can be made from."""

    path: Path
    repaired: bool = False


def guarded(
    artifact: Artifact,
    precision: Precision,
    bench: Bench,
    folder: Path,
    target: Target,
    *,
    repair: Callable[[], Path | None] = lambda: None,
    options: Mapping[str, object] | None = None,
) -> tuple[Artifact | None, Quantization]:
    """The integer file that keeps to the bound with fewest operators in float32; None where none does.

    Parameters
    ----------
    artifact : Artifact
        The float32 file, in `folder`.
    repair : callable
        Makes a float32 file whose weights were prepared for integers, or says None; called only where the
        file as it is breaks the bound.

    Raises
    ------
    ModelError
        The format's quantizer cannot take the file to integers at all.
    """
    quantizer = build("quantizers", f"{artifact.format}-{precision}", dict(options or {}))
    assert isinstance(quantizer, CalibratedQuantizer)
    opened: Runtime = build("runtimes", target.runtimes[artifact.format], {"threads": 1})
    runtime = Reading(opened, bench.interface, bench.float32.shape[-1])
    path = folder / f"model.{precision}.{artifact.format}"
    with TemporaryDirectory(dir=folder, prefix=".quantizing-") as scratch:
        work = _Work(quantizer, runtime, bench, Path(scratch), artifact.format)
        found = _found(work, Source(folder / artifact.path), repair)
        summary = work.summary(holds=found is not None)
        if found is None:
            return None, summary
        with written_whole(path) as whole:
            found.replace(whole)
    made = Artifact.of_file(
        path,
        format=artifact.format,
        precision=precision,
        parent=artifact.sha256,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
    )
    return made, summary


def _found(work: _Work, source: Source, repair: Callable[[], Path | None]) -> Path | None:
    """The file to deliver: as it is, repaired, or with operators in float32."""
    work.try_ranges(source)
    if work.holds(()):
        return work.file(())
    mended = repair()
    if mended is not None:
        work.try_ranges(Source(mended, repaired=True))
        if work.holds(()):
            return work.file(())
    if not work.holds(work.everything):
        return None  # before anything is swept: no set of operators can help
    shares = work.shares()
    count = fewest(len(shares), lambda number: work.holds(tuple(shares[:number])))
    assert count is not None, "float32 holds, and that is what all shares together are"
    work.fallbacks = _needed(work, shares[:count])
    return work.file(work.fallbacks)


def _needed(work: _Work, shares: Sequence[Share]) -> tuple[Share, ...]:
    """Shares without which the bound breaks: the others compute in integers again, the quietest first."""
    kept = list(shares)
    if len(kept) <= _GIVE_BACK:
        for share in reversed(shares[1:]):
            without = tuple(one for one in kept if one is not share)
            if work.holds(without):
                kept = list(without)
    return tuple(kept)


class _Work:
    """Files made on the way, each written and judged once."""

    def __init__(
        self, quantizer: CalibratedQuantizer, runtime: Runtime, bench: Bench, scratch: Path, suffix: str
    ) -> None:
        self._quantizer, self._runtime, self._bench = quantizer, runtime, bench
        self._scratch, self._suffix = scratch, suffix
        self._trials: list[tuple[Trial, Source, Mapping[str, Range]]] = []
        self._files: dict[object, Path] = {}
        self._drops: dict[object, Drop] = {}
        self._signal = 0.0
        """Power of float32's answers where the noise of operators was measured."""
        self._written = 0
        self.fallbacks: tuple[Share, ...] = ()

    # Ranges

    def try_ranges(self, source: Source) -> None:
        """Judge every way to choose ranges by the signal at the outputs."""
        histograms = self._quantizer.observe(source.path, self._bench.calibration.inputs(_BATCH))
        for method, ranges in _different(histograms):
            path = self._write(source, ranges, ())
            noise, signal = self._noise(path, _CHOOSING)
            trial = Trial(ranges=method, repaired=source.repaired, snr_db=decibels(signal, noise))
            self._trials.append((trial, source, ranges))

    @property
    def _best(self) -> tuple[Trial, Source, Mapping[str, Range]]:
        return max(self._trials, key=lambda one: np.inf if one[0].snr_db is None else one[0].snr_db)

    # Operators

    @cached_property
    def operators(self) -> list[Operator]:
        """Those that compute in integers."""
        return list(self._quantizer.operators(self._best[1].path))

    @property
    def everything(self) -> tuple[Share, ...]:
        """All of them as one share: what float32 would be."""
        return (Share(tuple(self.operators), 0.0),)

    def shares(self) -> list[Share]:
        """All operators, the noisiest first."""

        def noise_of(some: Sequence[Operator]) -> float:
            wanted = {one.name for one in some}
            _, source, ranges = self._best
            others = [one.name for one in self.operators if one.name not in wanted]
            path = self._write(source, ranges, others)
            noise, self._signal = self._noise(path, _SWEPT)
            path.unlink()
            return noise

        return noisiest(self.operators, noise_of)

    # Files

    def file(self, shares: Sequence[Share]) -> Path:
        """The best ranges, with these operators in float32."""
        return self._file_of(tuple(one.name for share in shares for one in share.operators))

    def holds(self, shares: Sequence[Share]) -> bool:
        """Whether that file keeps to the bound."""
        return self._bench.guard.holds(self.drop(shares))

    def drop(self, shares: Sequence[Share]) -> Drop:
        """What that file loses on all selection images."""
        path = self.file(shares)
        if path not in self._drops:
            answers = self._answers(path, len(self._bench.selection))
            self._drops[path] = drop_of(self._bench.base, answers, self._bench.labels)
        return self._drops[path]

    def _file_of(self, floats: tuple[str, ...]) -> Path:
        _, source, ranges = self._best
        key = (source.path, id(ranges), frozenset(floats))
        if key not in self._files:
            self._files[key] = self._write(source, ranges, floats)
        return self._files[key]

    def _write(self, source: Source, ranges: Mapping[str, Range], floats: Sequence[str]) -> Path:
        self._written += 1
        path = self._scratch / f"{self._written}.{self._suffix}"
        self._quantizer.quantize_within(source.path, path, ranges, floats)
        return path

    def _answers(self, path: Path, images: int) -> Answers:
        """A file's answers, images shared out between the cores; NaN where its runtime cannot run it."""
        try:
            return self._run(path, images)
        except DeviceError:
            return np.full_like(self._bench.float32[:images], np.nan)

    def _run(self, path: Path, images: int) -> Answers:
        sessions = [self._runtime.open(path) for _ in range(os.cpu_count() or 1)]
        size = max(1, min(50, -(-images // len(sessions))))
        batches = list(self._bench.selection.take(images).inputs(size))
        with ThreadPoolExecutor(len(sessions)) as pool:
            parts = [
                pool.submit(_answer_all, session, batches[number :: len(sessions)])
                for number, session in enumerate(sessions)
            ]
            found = [part.result() for part in parts]
        ordered = [found[place % len(sessions)][place // len(sessions)] for place in range(len(batches))]
        return np.concatenate(ordered).reshape(images, *self._bench.float32.shape[1:])

    def _noise(self, path: Path, images: int) -> tuple[float, float]:
        """Powers of the difference to float32's answers, and of these."""
        expected = self._bench.float32[:images].astype(np.float64)
        found = self._answers(path, len(expected)).astype(np.float64)
        noise = float(np.square(found - expected).sum()) if np.isfinite(found).all() else float("inf")
        return noise, float(np.square(expected).sum())

    # What became of it

    def summary(self, *, holds: bool) -> Quantization:
        """Everything that was found, as a document."""
        stages = [self.fallbacks[:number] for number in range(len(self.fallbacks) + 1)]
        # Where nothing holds, what is told is that float32 does not, either.
        stages += [] if holds else [self.everything]
        timed = self._timed([self.file(one) for one in stages])
        steps = [
            Step(drop=self.drop(one), bytes=self.file(one).stat().st_size, p50_ms=timed.get(self.file(one)))
            for one in stages
        ]
        best = self._best[0]
        return Quantization(
            operators=len(self.operators),
            images=len(self._bench.selection),
            guard=self._bench.guard,
            trials=tuple(trial for trial, _, _ in self._trials),
            ranges=best.ranges,
            repaired=best.repaired,
            before=steps[0],
            fallbacks=tuple(
                Fallback(
                    **step.model_dump(),
                    operators=tuple(one.name for one in share.operators),
                    kind=" ".join(sorted({one.kind for one in share.operators})),
                    snr_db=decibels(self._signal, share.noise),
                )
                for share, step in zip(self.fallbacks, steps[1:], strict=holds)
            ),
            after=steps[-1],
            holds=holds,
        )

    def _timed(self, paths: Sequence[Path]) -> dict[Path, float]:
        """Median milliseconds of files that take turns; the first, the last, and some between."""
        places = np.unique(np.linspace(0, len(paths) - 1, min(_TIMED, len(paths))).astype(int))
        one = next(self._bench.selection.inputs(1))
        sessions = {}
        for place in places.tolist():
            try:
                session = self._runtime.open(paths[place])
                session.infer(one)
            except DeviceError:
                continue
            sessions[paths[place]] = session
        samples: dict[Path, list[int]] = {path: [] for path in sessions}
        for _ in range(_ROUNDS):
            for path, session in sessions.items():
                samples[path] += session.time(one, warmup=2, runs=_RUNS)
        return {path: round(float(np.median(found)) / 1e6, 6) for path, found in samples.items()}


def _different(histograms: Mapping[str, Histogram]) -> Iterator[tuple[Method, dict[str, Range]]]:
    """Ranges by every method, leaving out one that chooses as another did."""
    seen: list[dict[str, Range]] = []
    for method in METHODS:
        ranges = {name: histogram.range(method) for name, histogram in histograms.items()}
        if ranges not in seen:
            seen.append(ranges)
            yield method, ranges


def _answer_all(session: Session, batches: Sequence[NDArray[np.float32]]) -> list[Answers]:
    return [session.infer(batch) for batch in batches]

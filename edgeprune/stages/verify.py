"""Verify: the same inputs through the captured program and every file, and how the answers compare."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Runtime
from edgeprune.core.registry import build
from edgeprune.core.report import Deviation, Quality, Verdict
from edgeprune.core.samples import Split
from edgeprune.core.target import Target
from edgeprune.graph.answer import answers
from edgeprune.graph.capture import Program

_BATCH = 50
_RANDOM_INPUTS = 64

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest output difference over the largest output; int8 is judged by its answers, not by this."""


def judge(
    program: Program, test: Split, progress: Progress, name: str
) -> tuple[Quality, NDArray[np.float32]]:
    """Accuracy of a captured program, and its outputs, shape (images, classes)."""
    progress.start(f"accuracy of the {name}", len(test))
    batches = (inputs for inputs, _ in test.batches(_BATCH))
    outputs = np.concatenate(list(answers(program, batches, progress.advance)))
    progress.finish()
    assert test.labels is not None
    return quality_of(outputs, test.labels), outputs


def verify(
    program: Program,
    artifacts: Sequence[Artifact],
    folder: Path,
    target: Target,
    test: Split | None,
    *,
    reference: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Run every file on the test images (seeded random inputs without data) and compare.

    Parameters
    ----------
    reference : array of shape (images, classes), optional
        The program's outputs on the test images, when they are known already.

    Raises
    ------
    DeviceError
        A runtime refuses a file it should run.
    """
    progress = progress or Silent()
    inputs = _inputs(program, test)
    if reference is None:
        reference = np.concatenate(list(answers(program, inputs)))
    labels = None if test is None else test.labels
    progress.start("verify", len(artifacts) * len(reference))

    def check(artifact: Artifact) -> Verdict:
        runtime: Runtime = build("runtimes", target.runtimes[artifact.format], {"threads": 1})
        session = runtime.open(folder / artifact.path)
        outputs = []
        for one in inputs:
            outputs.append(session.infer(one))
            progress.advance(len(one))
        return _verdict(artifact, np.concatenate(outputs), reference, labels)

    # One single-threaded session per core answers sooner than one session on all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(check, artifacts))
    progress.finish()
    return verdicts


def quality_of(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Top-1 accuracy with its 95 % Wilson interval."""
    from statsmodels.stats.proportion import proportion_confint

    correct = int((outputs.argmax(1) == labels).sum())
    low, high = proportion_confint(correct, len(labels), method="wilson")
    return Quality(
        top1=round(100 * correct / len(labels), 4),
        images=len(labels),
        interval=(round(100 * float(low), 2), round(100 * float(high), 2)),
    )


def _inputs(program: Program, test: Split | None) -> list[NDArray[np.float32]]:
    if test is None:
        return [program.example(1, seed=seed).numpy() for seed in range(_RANDOM_INPUTS)]
    return [inputs for inputs, _ in test.batches(_BATCH)]


def _verdict(
    artifact: Artifact,
    outputs: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
) -> Verdict:
    flat, expected = outputs.reshape(len(outputs), -1), reference.reshape(len(reference), -1)
    agreement = 100 * float((flat.argmax(1) == expected.argmax(1)).mean())
    deviation = _deviation(flat, expected)
    why = _why(deviation, TOLERANCES.get(artifact.precision))
    return Verdict(
        path=artifact.path,
        quality=None if labels is None else quality_of(flat, labels),
        agreement=round(agreement, 4),
        deviation=deviation,
        passed=not why,
        why=why,
    )


def _deviation(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Deviation:
    if not (np.isfinite(outputs).all() and np.isfinite(reference).all()):
        return Deviation(images=len(outputs), max_abs=None, relative=None)
    difference = float(np.abs(outputs - reference).max())
    scale = float(np.abs(reference).max()) or 1.0
    return Deviation(images=len(outputs), max_abs=difference, relative=difference / scale)


def _why(deviation: Deviation, tolerance: float | None) -> str:
    """What is wrong with a file that answers like this; '' when nothing is."""
    if deviation.relative is None:
        return "its answers are not finite"
    if tolerance is not None and deviation.relative > tolerance:
        return f"its answers differ by {deviation.relative:.1e} (relative), more than {tolerance:.0e}"
    return ""

"""Verify: the same inputs through the captured program and every file, and how the answers compare."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.alike import ALIKE, alike, are_scores, difference
from edgeprune.core.artifact import Artifact
from edgeprune.core.decibels import decibels
from edgeprune.core.drop import DropClaim, drop_of
from edgeprune.core.interface import Interface
from edgeprune.core.interpreted import read_by
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Runtime, Session
from edgeprune.core.quantization import Guard
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.report import ClassDrop, Deviation, Qualities, Quality, Verdict
from edgeprune.core.request import CONFIDENCE, Budget
from edgeprune.core.samples import Samples, Split
from edgeprune.core.target import Target
from edgeprune.graph.answer import answers
from edgeprune.graph.capture import Program

_BATCH = 50
_RANDOM_INPUTS = 64

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest output difference over the largest output; int8 is judged by its answers, not by this."""


def judge(
    program: Program, test: Split, progress: Progress, name: str
) -> tuple[Quality | None, NDArray[np.float32]]:
    """Accuracy of a captured program (None without labels), and its outputs, shape (images, classes)."""
    progress.start(f"accuracy of the {name}", len(test))
    batches = test.inputs(_BATCH)
    outputs = np.concatenate(list(answers(program, batches, progress.advance)))
    progress.finish()
    return None if test.labels is None else quality_of(outputs, test.labels), outputs


def compare_answers(
    original: NDArray[np.float32],
    shrunk: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    class_names: Sequence[str] = (),
) -> Qualities:
    """What the cut did to the answers, over all images and class by class; without labels, how many changed.

    Parameters
    ----------
    original, shrunk : arrays of shape (images, classes), without labels also (images, ...)
        What the two networks answer to the same images.
    """
    if labels is None:
        return _unjudged(original, shrunk)
    classes = _class_drops(original, shrunk, labels, class_names)
    worst = max(classes, key=lambda one: one.drop.points)
    return Qualities(
        original=quality_of(original, labels),
        shrunk=quality_of(shrunk, labels),
        drop=drop_of(original, shrunk, labels),
        classes=classes,
        worst=worst.name if worst.drop.points > 0 else "",
    )


def _unjudged(original: NDArray[np.float32], shrunk: NDArray[np.float32]) -> Qualities:
    """How much of the answers stayed, where no label says which are right."""
    same = alike(original, shrunk)
    agreement, (low, high) = _percent(same)
    share = f"{agreement:.2f} % [{low:.2f}, {high:.2f}] of {len(same)} test images"
    if are_scores(original.shape):
        note = f"no labels: no accuracy is claimed; the shrunk network answers like the original on {share}"
    else:
        apart = difference(original, shrunk)
        mean = f"{100 * apart:.1f} % of their spread (root mean square)"
        note = (
            "answers are no scores of classes: no accuracy is claimed; the shrunk network's differ from the "
            f"original's by {mean if np.isfinite(apart) else 'what no spread measures'}, "
            f"by {100 * ALIKE:g} % at most on {share}"
        )
    return Qualities(
        original=None, shrunk=None, agreement=agreement, agreement_interval=(low, high), note=note
    )


def claimed(
    original: NDArray[np.float32],
    shrunk: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    budget: Budget,
) -> DropClaim | None:
    """What the images say of the budget's bound on the drop; None without one."""
    if budget.max_drop is None:
        return None
    return DropClaim(
        at_most=budget.max_drop,
        confidence=budget.certainty,
        answers="same" if labels is None else "right",
        drop=drop_of(original, shrunk, labels),
    )


def _class_drops(
    original: NDArray[np.float32],
    shrunk: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[ClassDrop, ...]:
    from statsmodels.stats.multitest import multipletests

    present = np.unique(labels).tolist()
    drops = [drop_of(*(one[labels == label] for one in (original, shrunk, labels))) for label in present]
    corrected = multipletests([drop.p_value for drop in drops], method="holm")[1]
    return tuple(
        ClassDrop(
            name=names[label] if label < len(names) else str(label),
            drop=drop,
            p_value=float(f"{p_value:.6g}"),
        )
        for label, drop, p_value in zip(present, drops, corrected, strict=True)
    )


def verify(
    program: Program,
    artifacts: Sequence[Artifact],
    folder: Path,
    target: Target,
    test: Split | None,
    *,
    reference: NDArray[np.float32] | None = None,
    original: NDArray[np.float32] | None = None,
    guard: Guard | None = None,
    interface: Interface | None = None,
    preprocess: Preprocess | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Run every file on the test images (seeded random inputs without data) and compare.

    Parameters
    ----------
    reference : array of shape (images, classes), optional
        The program's outputs on the test images, when they are known already.
    original : array of shape (images, classes), optional
        What the network before the cut answers to them: every file's drop is taken from it.
    guard : Guard, optional
        The bound on what quantized files may lose: one that the images refute fails the file.
    interface, preprocess : optional
        What the files take and answer; how frames are normalised, where there are no images.

    Raises
    ------
    DeviceError
        A runtime refuses a file it should run.
    """
    progress = progress or Silent()
    test = _frames(program, preprocess) if test is None and interface and interface.camera else test
    if reference is None:
        reference = np.concatenate(list(answers(program, _inputs(program, test))))
    labels = None if test is None else test.labels
    interface = interface or Interface()
    reference, classes = interface.expected(reference), reference.shape[-1]
    sessions = [read_by(interface, classes, _open(artifact, folder, target)) for artifact in artifacts]
    outputs: list[list[NDArray[np.float32]]] = [[] for _ in artifacts]
    progress.start("verify", len(reference))
    # One single-threaded session per core answers sooner than one session on all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for inputs in _inputs(program, test, interface):
            found = pool.map(lambda session, batch=inputs: session.infer(batch), sessions)
            for collected, output in zip(outputs, found, strict=True):
                collected.append(output)
            progress.advance(len(inputs))
    progress.finish()
    return [
        _verdict(
            artifact, np.concatenate(collected), reference, labels, original, guard, exact=interface.exact
        )
        for artifact, collected in zip(artifacts, outputs, strict=True)
    ]


def quality_of(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> Quality:
    """Top-1 accuracy with its 95 % Wilson interval."""
    top1, interval = _percent(outputs.argmax(1) == labels)
    return Quality(top1=top1, images=len(labels), interval=interval)


def _percent(right: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """How many of all, and the 95 % Wilson interval of that."""
    from statsmodels.stats.proportion import proportion_confint

    count = int(right.sum())
    low, high = proportion_confint(count, len(right), method="wilson")
    return round(100 * count / len(right), 4), (round(100 * float(low), 2), round(100 * float(high), 2))


def _open(artifact: Artifact, folder: Path, target: Target) -> Session:
    runtime: Runtime = build("runtimes", target.runtimes[artifact.format], {"threads": 1})
    return runtime.open(folder / artifact.path)


def _inputs(
    program: Program, test: Split | None, interface: Interface | None = None
) -> Iterator[NDArray[np.float32]]:
    """For the network, or as files take them; batch by batch: a test set need not fit in memory."""
    if test is None:
        for seed in range(_RANDOM_INPUTS):
            example = program.example(1, seed=seed).numpy()
            yield example if interface is None else np.asarray(interface.laid_out(example), np.float32)
    else:
        for inputs, _ in (test if interface is None else test.for_files(interface)).batches(_BATCH):
            yield inputs


def _frames(program: Program, preprocess: Preprocess | None) -> Split:
    """Random 8-bit frames, for files that take such where there are no images."""
    frames = np.random.default_rng(0).integers(
        256, size=(_RANDOM_INPUTS, *program.input_size), dtype=np.uint8
    )
    samples = Samples(len(frames), lambda places: frames[list(places)], None, "random frames")
    return Split(samples, np.arange(len(frames)), preprocess or Preprocess())


def _verdict(
    artifact: Artifact,
    outputs: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    original: NDArray[np.float32] | None,
    guard: Guard | None,
    *,
    exact: bool,
) -> Verdict:
    outputs = outputs.reshape(reference.shape)
    deviation = _deviation(outputs.reshape(len(outputs), -1), reference.reshape(len(reference), -1))
    why = _why(deviation, TOLERANCES.get(artifact.precision) if exact else None)
    if not why and guard is not None and artifact.precision != "fp32":
        base = original if guard.against == "original" else reference
        why = _refuted(guard, base, outputs, labels)
    return Verdict(
        path=artifact.path,
        quality=None if labels is None else quality_of(outputs, labels),
        drop=None if labels is None or original is None else drop_of(original, outputs, labels),
        own_drop=None if labels is None else drop_of(reference, outputs, labels),
        agreement=_percent(alike(reference, outputs))[0],
        deviation=deviation,
        passed=not why,
        why=why,
    )


def _refuted(
    guard: Guard,
    base: NDArray[np.float32] | None,
    outputs: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
) -> str:
    """Which bound the answers break as surely as 95 %; '' where they do not."""
    if base is None:
        return ""
    claim = guard.claim(drop_of(base, outputs, labels), max(CONFIDENCE, guard.confidence))
    if claim.verdict != "no":
        return ""
    low, high = claim.drop.interval
    lost = f"it loses {claim.drop.points:.2f} points [{low:.2f}, {high:.2f}]"
    return f"{lost} against {guard.against}, more than the {guard.at_most:g} allowed"


def _deviation(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Deviation:
    if not (np.isfinite(outputs).all() and np.isfinite(reference).all()):
        return Deviation(images=len(outputs), max_abs=None, relative=None)
    difference = np.abs(outputs.astype(np.float64) - reference)
    scale = float(np.abs(reference).max()) or 1.0
    signal = float(np.square(reference, dtype=np.float64).sum())
    norms = np.linalg.norm(outputs, axis=1) * np.linalg.norm(reference, axis=1)
    products = np.einsum("ij,ij->i", outputs.astype(np.float64), reference)
    cosines = np.divide(products, norms, out=np.ones_like(products), where=norms > 0)
    return Deviation(
        images=len(outputs),
        max_abs=float(difference.max()),
        relative=float(difference.max()) / scale,
        mean_abs=float(difference.mean()),
        cosine=float(cosines.min()),
        snr_db=decibels(signal, float(np.square(difference).sum())),
    )


def _why(deviation: Deviation, tolerance: float | None) -> str:
    """What is wrong with a file that answers like this; '' when nothing is."""
    if deviation.relative is None:
        return "its answers are not finite"
    if tolerance is not None and deviation.relative > tolerance:
        return f"its answers differ by {deviation.relative:.1e} (relative), more than {tolerance:.0e}"
    return ""

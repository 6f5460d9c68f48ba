"""Compare: a board's answers beside this machine's, and whether they are close enough for the precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.alike import alike, are_classes, are_scores
from edgeprune.core.artifact import Precision
from edgeprune.core.emulation import Likeness

TOLERANCES: dict[Precision, float] = {"fp32": 1e-5, "fp16": 1e-2}
"""Largest difference over the largest answer; fp16 arithmetic itself where a core has it, as the A76 does."""
STEPS = 1.0
"""Steps of a quantized output that the answers of an integer file may differ by."""
FLOAT_TAIL = 5e-2
"""The same as TOLERANCES for integer files whose last operator computes in float."""


def likeness(
    here: Sequence[NDArray[np.generic]], there: Sequence[NDArray[np.generic]], step: float | None
) -> Likeness:
    """How the answers compare; `step` is the scale of a quantized output."""
    first = np.stack([one.reshape(-1) for one in here]).astype(np.float64)
    second = np.stack([one.reshape(-1) for one in there]).astype(np.float64)
    equal = all(one.tobytes() == other.tobytes() for one, other in zip(here, there, strict=True))
    decides = are_classes(here[0]) or are_scores(here[0].shape)
    finite = bool(np.isfinite(first).all() and np.isfinite(second).all())
    largest = float(np.abs(first - second).max()) if finite else None
    return Likeness(
        inputs=len(here),
        equal=equal,
        differing=float((first != second).mean()),
        max_abs=largest,
        relative=None if largest is None else largest / (float(np.abs(first).max()) or 1.0),
        max_lsb=None if largest is None or step is None else round(largest / step, 3),
        top1=100 * float(alike(np.concatenate(here), np.concatenate(there)).mean()) if decides else None,
    )


def judged(found: Likeness, precision: Precision, float_operators: Sequence[str]) -> tuple[bool, str]:
    """Whether it passes, and how the answers differ, in words; '' where they are equal."""
    if found.equal:
        return True, ""
    if found.relative is None:
        return False, "the answers are not finite"
    integers = precision not in TOLERANCES
    if integers and found.max_lsb is not None:
        share = f"{100 * found.differing:.2g} % of the outputs differ, by {found.max_lsb:g} steps at most"
        return found.max_lsb <= STEPS + 1e-6, f"{share}{_reason(float_operators)}"
    bound = TOLERANCES.get(precision, FLOAT_TAIL)
    words = f"{found.relative:.1e} of the largest answer, {bound:.0e} allowed"
    rounded = integers and found.relative > TOLERANCES["fp32"]
    return found.relative <= bound, words + (_reason(float_operators) if rounded else "")


def _reason(float_operators: Sequence[str]) -> str:
    if float_operators:
        return f"; float between quantized operators: {', '.join(float_operators)}"
    return "; its kernels of this core round otherwise"

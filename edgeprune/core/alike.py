"""Alike: whether two answers to an input say the same, be they scores of classes or other values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ALIKE = 0.1
"""Of the spread of a network's values from input to input: differences up to it are no other answer."""
ALIKE_WORDS = "alike: the same class first; of other answers than scores, within a tenth of their spread"
_INDICES = (np.int32, np.int64)
"""Smaller whole numbers are quantized scores."""


def are_scores(shape: tuple[int, ...]) -> bool:
    """Whether answers of a shape (inputs, ...) are scores of classes: two or more numbers for each input.

    One number, or a map with axes of its own, has no best class that labels of images could be held against.
    """
    return len(shape) == 2 and shape[1] > 1


def are_classes(answers: NDArray[np.generic]) -> bool:
    """Whether answers are classes themselves, the best one first, and not numbers that stand for them."""
    return answers.dtype in _INDICES


def alike(reference: NDArray[np.number], other: NDArray[np.number]) -> NDArray[np.bool_]:
    """Which inputs are answered alike, shape (inputs,); both arrays have one shape (inputs, ...).

    Scores of classes, or classes in order, where the same class comes first. Other values, where their
    difference (root mean square over an input's values) is at most a tenth of what the reference's vary by
    from input to input; what is not finite is like nothing.
    """
    if are_classes(reference):
        first, second = (one.reshape(len(one), -1)[:, 0] for one in (reference, other))
        return np.asarray(first == second)
    if are_scores(reference.shape):
        return np.asarray(reference.argmax(1) == other.argmax(1))
    with np.errstate(invalid="ignore"):  # infinity less infinity is like nothing, either
        flat = (other - reference).reshape(len(reference), -1)
        differences = np.sqrt(np.square(flat, dtype=np.float64).mean(1))
    return np.asarray(differences <= ALIKE * _spread(reference))


def difference(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The difference of values that are no scores, root mean square over all, as a share of their spread.

    Infinite where they do not vary at all, or are not finite.
    """
    with np.errstate(invalid="ignore"):
        off, spread = _size(other - reference), _spread(reference)
    if off == 0:
        return 0.0
    return off / spread if spread and math.isfinite(off) else math.inf


def _spread(values: NDArray[np.number]) -> float:
    """By how much values of shape (inputs, ...) vary from input to input, root mean square.

    Their own size where they do not vary, as those of a single input. Inputs with a value that is not finite
    have no say.
    """
    finite = values[np.isfinite(values.reshape(len(values), -1)).all(1)]
    return (_size(finite - finite.mean(0)) or _size(finite)) if len(finite) else 0.0


def _size(values: NDArray[np.number]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))

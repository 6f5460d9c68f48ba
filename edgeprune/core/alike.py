"""Alike: whether two answers to an input say the same, be they scores of classes or other values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALIKE = 0.1
"""Of the spread of a network's values from input to input: differences up to it are no other answer."""

ALIKE_WORDS = "alike: the same class first; of other answers than scores, within a tenth of their spread"


def are_scores(shape: tuple[int, ...]) -> bool:
    """Whether answers of a shape (inputs, ...) are scores of classes: two or more numbers for each input.

    One number, or a map with axes of its own, has no best class that labels of images could be held against.
    """
    return len(shape) == 2 and shape[1] > 1


def alike(reference: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which inputs are answered alike, shape (inputs,); both arrays have one shape (inputs, ...).

    Scores of classes, where the same class comes first. Other values, where their difference (root mean
    square over an input's values) is at most a tenth of what the reference's vary by from input to input;
    what is not finite is like nothing.
    """
    if are_scores(reference.shape):
        return np.asarray(reference.argmax(1) == other.argmax(1))
    flat = (other - reference).reshape(len(reference), -1)
    differences = np.sqrt(np.square(flat, dtype=np.float64).mean(1))
    return np.asarray(differences <= ALIKE * _spread(reference))


def difference(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The difference of values that are no scores, root mean square over all, as a share of their spread."""
    off = _size(other - reference)
    return off / _spread(reference) if off else 0.0


def _spread(values: NDArray[np.float32]) -> float:
    """By how much values of shape (inputs, ...) vary from input to input, root mean square.

    Their own size where they do not vary, as those of a single input.
    """
    return _size(values - values.mean(0)) or _size(values)


def _size(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))

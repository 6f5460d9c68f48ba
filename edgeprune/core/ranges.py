"""Ranges: between which values an activation is quantized, from a histogram of what it was seen to be.

A histogram costs a few kilobytes per tensor whatever the number of images, so every way to choose a range
looks at the same pass over the calibration images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["min-max", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

Range = tuple[float, float]
"""Lowest and highest value that is represented; zero always lies between them."""

_BINS = 4096
_SAMPLE = 1 << 15
"""Values of a tensor that are counted per call; the extremes are those of all."""
_TAIL = 5e-5
"""Share of the values that a percentile range cuts off at either end: 99.99 % stay."""
_CLIPS = np.linspace(0.1, 1.0, 91)
"""Shares of an extreme that are tried as a clipped one."""
_LEVELS = 256
_KL_LEVELS = 128
_KL_CANDIDATES = 64


class Histogram:
    """Counts of values in equal bins around zero, which widen by doubling; extremes are kept exactly."""

    def __init__(self) -> None:
        self.lowest = 0.0
        self.highest = 0.0
        self._limit = 0.0
        self._counts = np.zeros(_BINS)

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the finite values of a tensor; of a large one an evenly spread part."""
        flat: NDArray[np.floating] = values.reshape(-1)
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return
        self.lowest, self.highest = min(self.lowest, float(flat.min())), max(self.highest, float(flat.max()))
        self._widen(max(-self.lowest, self.highest))
        if self._limit:
            # An odd step, so that a tensor's rows and channels are all met.
            flat = flat[:: max(1, flat.size // _SAMPLE) | 1]
            places = ((flat / self._limit + 1) * (_BINS / 2)).astype(np.int64)
            self._counts += np.bincount(np.minimum(places, _BINS - 1), minlength=_BINS)

    def range(self, method: Method) -> Range:
        """The range that a method chooses.

        `min-max`: all that was seen. `percentile`: all but 0.005 % at either end. `mse`: the least expected
        squared error of 8-bit values, clipping and rounding together. `entropy`: the least information lost
        (Kullback-Leibler, after Migacz 2017, "8-bit inference with TensorRT").
        """
        if method == "min-max" or not self._limit:
            return self.lowest, self.highest
        return {"percentile": self._percentile, "mse": self._least_error, "entropy": self._least_loss}[
            method
        ]()

    def _widen(self, magnitude: float) -> None:
        if magnitude > 0 and not self._limit:
            self._limit = float(2.0 ** np.ceil(np.log2(magnitude)))
        while magnitude > self._limit:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.zeros(_BINS)
            self._counts[_BINS // 4 : 3 * _BINS // 4] = merged
            self._limit *= 2

    def _centres(self) -> NDArray[np.float64]:
        places = np.arange(_BINS, dtype=np.float64) + 0.5
        return np.asarray(places * (2 * self._limit / _BINS) - self._limit, np.float64)

    def _within(self, low: float, high: float) -> Range:
        return max(self.lowest, min(low, 0.0)), min(self.highest, max(high, 0.0))

    def _percentile(self) -> Range:
        below = self._counts.cumsum() / self._counts.sum()
        edges = np.linspace(-self._limit, self._limit, _BINS + 1)
        low, high = np.searchsorted(below, [_TAIL, 1 - _TAIL])
        return self._within(float(edges[low]), float(edges[min(high + 1, _BINS)]))

    def _least_error(self) -> Range:
        low, high = self.lowest, self.highest
        for _ in range(2):  # each end with the other as it is
            highs, lows = self.highest * _CLIPS, self.lowest * _CLIPS
            high = float(highs[self._errors(np.full_like(highs, low), highs).argmin()])
            low = float(lows[self._errors(lows, np.full_like(lows, high)).argmin()])
        return low, high

    def _errors(self, lows: NDArray[np.float64], highs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected squared errors, times the number of values, of 256 levels between pairs of ends."""
        below = self._beyond(self._counts[::-1], -lows)
        above = self._beyond(self._counts, highs)
        steps = (highs - lows) / (_LEVELS - 1)
        return np.asarray(below + above + self._counts.sum() * steps**2 / 12, np.float64)

    def _beyond(self, counts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
        """What clipping at positive ends costs: the squared distances of everything above them."""
        centres = self._centres()
        moments = [(counts * centres**power)[::-1].cumsum()[::-1] for power in range(3)]
        first = np.searchsorted(centres, ends)
        number, total, squares = (np.append(one, 0.0)[first] for one in moments)
        return np.asarray(squares - 2 * ends * total + ends**2 * number, np.float64)

    def _least_loss(self) -> Range:
        magnitudes = self._counts[_BINS // 2 :] + self._counts[: _BINS // 2][::-1]
        magnitudes[0] = 0  # the zeros that a rectifier leaves would outweigh everything else
        widths = np.unique(np.linspace(_KL_LEVELS, _BINS // 2, _KL_CANDIDATES).astype(int))
        best = min(widths.tolist(), key=lambda width: _information_lost(magnitudes, width))
        end = best * 2 * self._limit / _BINS
        return self._within(-end, end)


def chosen(histograms: Mapping[str, Histogram], method: Method) -> dict[str, Range]:
    """The range of every tensor."""
    return {name: histogram.range(method) for name, histogram in histograms.items()}


def _information_lost(counts: NDArray[np.float64], width: int) -> float:
    """Kullback-Leibler divergence between magnitudes clipped at `width` bins and the same in 128 levels."""
    kept = counts[:width].copy()
    seen = kept > 0
    if not seen.any():
        return float("inf")
    level = np.arange(width) * _KL_LEVELS // width
    totals = np.bincount(level, kept, minlength=_KL_LEVELS)
    members = np.bincount(level, seen, minlength=_KL_LEVELS)
    coarse = np.where(seen, totals[level] / np.maximum(members[level], 1), 0.0)
    kept[-1] += counts[width:].sum()
    fine, coarse = kept / kept.sum(), coarse / coarse.sum()
    both = (fine > 0) & (coarse > 0)
    lost = float((fine[both] * np.log(fine[both] / coarse[both])).sum())
    # What the coarse one cannot express at all: clipped values where nothing else was seen.
    return lost - float(fine[(fine > 0) & (coarse == 0)].sum()) * math.log(np.finfo(np.float32).eps)
